# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# shellcheck disable=SC2154 # speaker and silent are lib.sh's
#
# A Redis session and a download that go on whatever fails, every reply and byte checked, and a table of how long they paused. Source it after lib.sh.

# What is said of a failure and how it was found; the pauses.
note() { printf '%s|%s|%s|%s\n' "$1" "$2" "$(pause redis)" "$(pause download)" >>"$WORK/figures"; }

# begin_streams: a Redis session, and a download that is in the middle.
begin_streams() {
    local begin
    talk redis redis --to "$VIP:6379" --think 5
    talking redis || return 1
    begin=$(delivered)
    talk download client get --to "$VIP:7000" --bytes 24M --size 1M
    wait_until 60 has_delivered $((begin + (8 << 20)))
}
# end_streams: both come to a good end.
end_streams() {
    local status=0
    heard download || status=1
    moved_on redis || status=1
    hush redis
    heard redis || status=1
    [[ $status -eq 0 ]] || sed 's/^/# /' "$WORK"/*.json
    return $status
}

# shows TEXT COMMAND...: a result of its own.
shows() {
    local text=$1 status=0
    shift
    "$@" || status=1
    result $status "$text"
}

# goes_on TEXT FOUND CONDITION COMMAND...: both go on when the command made something fail; the condition, a command in one word, comes true before they end.
goes_on() {
    local text=$1 found=$2 condition=$3 status=0
    shift 3
    say "$text ..."
    begin_streams || status=1
    "$@"
    wait_until 20 eval "$condition" || status=1
    end_streams || status=1
    scan client || status=1
    note "$text" "$found"
    result "$status" "$text: Redis session and download go on"
}

# survives TEXT FOUND STATE COMMAND...: the speaker fails, and the other takes over.
survives() {
    goes_on "$1" "$2" "has_state $silent $3" "${@:4}"
    scan "$silent" || result 1 "$1: the kernel of the host that takes over complains"
    echo "# $(logged "$silent" 'taking over')"
    swap
}

# disturbs TEXT FOUND STATE COMMAND...: something on the silent side fails, and the speaker goes on.
disturbs() {
    goes_on "$1" "$2" "has_state $speaker $3" "${@:4}"
    scan "$speaker" || result 1 "$1: the kernel of the speaker complains"
}


# table TITLE: of what was noted.
table() {
    echo "| $1 | found by | times | Redis session, ms | download, ms |"
    echo '| --- | --- | ---: | ---: | ---: |'
    awk -F'|' "$awk_median"'
        !($1 in times) { order[++rows] = $1 }
        { times[$1]++; found[$1] = $2; redis[$1] = redis[$1] " " $3; download[$1] = download[$1] " " $4 }
        END { for (row = 1; row <= rows; row++) { it = order[row]; printf "| %s | %s | %d | %s | %s |\n", it, found[it], times[it], median(redis[it]), median(download[it]) } }' "$WORK/figures"
}

# record TITLE: prints the table. STTCP_RECORD=1 puts it into docs/results/failures.md, in the place of the one whose first column has that title.
record() {
    local document=$STTCP_TOP/docs/results/failures.md
    table "$1" >"$WORK/table"
    sed 's/^/# /' "$WORK/table"
    [[ ${STTCP_RECORD-} == 1 ]] || return 0
    put_table "$document" "$WORK/table"
}
