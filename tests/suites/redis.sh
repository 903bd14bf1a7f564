#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Redis' own test suite against a protected Redis, unit by unit. It skips by itself what needs a server of its own to start, stop or
# replicate, and names it. What fails with the module idle as well is not the module's fault. Topology: see ../netns/lib.sh.

. "$(dirname "$0")/lib.sh"

# Units whose replies follow from the commands alone, but for tests that ask for a random member, a time to live, or how many clients there are
# (INFO); these are left out where a takeover comes, as two servers answer them with so many bytes more or less. The other units have such
# questions everywhere, or are over too soon to be cut.
deterministic="type/string type/list type/zset sort hyperloglog keyspace multi pubsub"
chance="LPUSH and LPOP on plain|LREM on plain|RANDFIELD|RANDMEMBER|RANDOMKEY|GETEX|[Ee]xpire|EXPIRE|volatile|B[LRZ]M?(POP|MOVE)|blocked|Linked LMOVEs|to replica|UNSUBSCRIBE without"

# What takes minutes in an emulated guest, by name or by regular expression.
long=("/[Ff]uzz" "/[Ss]tress test" "/SORT speed" "MIGRATE cached connections are released after some time"
    "/SCAN regression test for issue #4906" "XREVRANGE returns the reverse of XRANGE" "/KEYSIZES - Test hyperloglog"
    "/PFCOUNT multiple-keys merge" "Verify Lua performs GC correctly after script loading"
    "LATENCY of expire events are correctly collected" "Client closed in the middle of blocking FLUSHALL ASYNC")
# What switches an append-only file on and loads it at once: a server that is there already refuses at times, protected or not.
files=("/AOF" "/loadaof" "/append only file" "/can propagate correctly" "XREADGROUP with NOACK creates consumer"
    "Test selective replication of certain Redis commands from Lua")
left_out=()
for name in "${long[@]}" "${files[@]}"; do left_out+=(--skiptest "$name"); done

# run UNIT [ARGUMENT...]: what it said is in $WORK/unit.
run() {
    # The suite wants to be in its directory, and writes there.
    client bash -c 'cd "$1" && shift && exec timeout -k 5 400 tclsh8.6 tests/test_helper.tcl "$@"' run "$SUITES/redis" \
        --host "$VIP4" --port $REDIS --singledb --tags -slow --no-latency --single "unit/$1" "${left_out[@]}" "${@:2}" 2>&1 |
        sed -u 's/\x1b\[[0-9;]*m//g' >"$WORK/unit"
    return "${PIPESTATUS[0]}"
}
said() { grep -c "^\[$1\]" "$WORK/unit"; }
# failed: names of what failed, a line each.
failed() { sed -nE 's/^\[(err|exception|timeout)\]:? *//p' "$WORK/unit" | cut -c1-150 | sort -u; }
# reasons: why tests were skipped, and how many.
reasons() { sed -nE 's/^\[(ignore|skip)\]: *(.*: )?//p' "$WORK/unit" | sort | uniq -c | sed 's/^ *//' | paste -sd ';'; }
# slow: tests that took more than ten seconds.
slow() { sed -nE 's/^\[ok\]: (.*) \(([0-9]{2,})[0-9]{3} ms\).*/# \2 s: \1/p' "$WORK/unit"; }
has_passed() { ended "$pid" || [ "$(said ok)" -ge "$1" ]; }

# unit NAME: without a failure.
unit() {
    local status=0 digests
    watch whole
    begun=$SECONDS
    run "$1" || status=$?
    if [ "$(said ok)" -eq 0 ] && [ $status -eq 0 ]; then
        skip "$1" "nothing of it runs against a server that is there already: $(reasons)"
        return
    fi
    failed >"$WORK/failed"
    slow
    watched 0 || status=1
    digests="keys the same on both hosts afterwards"
    wait_until 3 alike || digests="keys differ afterwards"
    passed=$(said ok) skipped="$(reasons)"
    if [ $status -ne 0 ]; then
        cp "$WORK/unit" "$WORK/unit.protected"
        unprotect
        run "$1"
        protect || echo "# no way back to protection"
        failed >"$WORK/failed.idle"
        sed 's/^/# protected: /' "$WORK/failed"
        sed 's/^/# idle: /' "$WORK/failed.idle"
        if [ -s "$WORK/failed" ] && cmp -s "$WORK/failed" "$WORK/failed.idle"; then
            status=0
            skip "$1: $(paste -sd ';' "$WORK/failed")" "fails with the module idle as well"
        else
            note "$WORK/unit.protected" "$WORK"/redis.log.*
        fi
    fi
    result $status "$1: $passed tests pass in $((SECONDS - begun)) s; skipped: ${skipped:-none}; $digests"
}

# survives_in NAME TESTS: a unit of so many tests runs while the primary is cut off, in the first third of them.
survives_in() {
    local status=0 pid
    # Clean servers on both hosts, as one of them may have been left behind in the last takeover.
    local host
    for host in primary backup; do redis $host flushall; redis $host function flush; redis $host config resetstat; done >/dev/null
    watch takeover
    : >"$WORK/unit"
    run "$1" --skiptest "/$chance" &
    pid=$!
    draw $(($2 / 3 + 1))
    wait_until 300 has_passed $((drawn + 1))
    sleep 0.0$((RANDOM % 10))
    cut_speaker || status=1
    ! ended "$pid" || {
        echo "# all was over before the cut"
        status=1
    }
    wait $pid || status=1
    watched 1 || status=1
    rejoin || {
        echo "# no rejoin"
        status=1
    }
    [ $status -eq 0 ] || {
        failed | sed 's/^/# /'
        note "$WORK/unit" "$WORK"/redis.log.*
    }
    result $status "$1, through a takeover after test $((drawn + 1)): $(said ok) tests pass"
}

begin
RANDOM=$SEED
echo "# SEED=$SEED"
redis_up || bail "Redis does not come up"
for name in "${long[@]}"; do skip "${name#/}" "takes minutes in an emulated guest"; done
for name in "${files[@]}"; do skip "${name#/}" "switches an append-only file on and loads it"; done
for file in "$SUITES"/redis/tests/unit/{type/,}*.tcl; do
    name=${file#"$SUITES/redis/tests/unit/"}
    name=${name%.tcl}
    wanted "$name" || continue
    unit "$name"
    [[ " $deterministic " != *" $name "* ]] || survives_in "$name" "$passed"
done
ktap_end
