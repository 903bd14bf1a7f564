#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Two servers that do not say the same (divergence=warn|reset): found on both hosts with its place, reset at a takeover or gone on with, and nothing found where
# they do say the same, whatever the tap loses. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
# The byte that the liar says wrong on each of its connections.
LIE=300000
begin

[ "$(primary cat /proc/sys/net/sttcp/divergence)" = warn ]
result $? "they are compared unless told otherwise"

# found HOST [COUNT]: so many connections are shown as different there, and each about the right place.
found() {
    ip netns exec "$1" cat /proc/net/sttcp | awk -v lie=$LIE -v want="${2:-2}" '
        match($0, /diverged=[0-9]+-[0-9]+/) {
            split(substr($0, RSTART + 9, RLENGTH - 9), place, "-")
            found += place[1] <= lie && lie < place[2]
        }
        END { exit found != want }'
}
sum() { echo $(($(counter primary "$1") + $(counter backup "$1"))); }
cut_and_rejoin() {
    local old=$speaker
    cut_off_speaker
    wait_until 10 has_state "$silent" solo && move_on
    local status=$?
    ip -n switch link set "to-$old" up
    settle && return $status
}
cut_off_speaker() { ip -n switch link set "to-$speaker" down; }

# The truth, under losses of the tap and of the channel, with many segments sent twice.
for version in 4 6; do
    tap loss 5%
    channel loss 10%
    client "$TRAFFIC" client get --to "$(target $version)" --bytes 8M --timeout $PATIENCE >"$WORK/result" 2>&1 &&
        client "$TRAFFIC" client ask --to "$(target $version)" --connections 8 --count 50 --timeout $PATIENCE >"$WORK/result" 2>&1 &&
        client "$TRAFFIC" client greet --to "$(target $version $GREET)" --connections 8 --count 20 --timeout $PATIENCE >"$WORK/result" 2>&1
    result $? "IPv$version: honest servers serve under losses"
    mend
done
[ "$(sum diverged)" -eq 0 ]
result $? "and are not accused"

# lies HOST: from now on its server says one wrong byte on each connection, and three echo connections and two transfers go on for long.
lies() {
    local host
    for host in primary backup; do
        if [ "$host" = "$1" ]; then serve_anew "$host" --lie-at $LIE; else serve_anew "$host"; fi
    done
    settle && streams 4 --size 64 --think 5
}

# What clients hear before a takeover is what the speaker's server says; the wrong byte is the shadow's, and far behind by the takeover. The echoes are not
# that far yet. The upload's server says a few bytes.
before=$(sum diverged)
lies "$silent"
result $? "warn: one server lies, and streams begin"
wait_until 10 found "$speaker" 1 && wait_until 10 found "$silent" 1
result $? "warn: the download is found on both hosts, the lie between its places"
[ "$(sum diverged)" -eq $((before + 2)) ] && dmesg | grep -q "sttcp: the two servers differ on $VIP4:$PORT to 10.0.0.10:[0-9]*: the same for [0-9]* bytes, not for [0-9]*"
result $? "warn: counted once on each, and a line in the log"
wait_until 10 all_protected && move_on
result $? "warn: it stays protected, and goes on"
cut_and_rejoin && end_well
result $? "warn: a takeover goes on with all of them"

for host in primary backup; do set_control $host divergence reset; done
before=$(sum takeover_diverged)
lies "$silent"
wait_until 10 found "$speaker" 1 && wait_until 10 found "$silent" 1
result $? "reset: the download is found"
! ip netns exec "$speaker" sh -c 'echo 1 >/proc/sys/net/sttcp/switchover' 2>/dev/null && dmesg | tail -20 | grep -q 'switchover refused: 1 connections'
result $? "reset: a switchover that would reset it is refused"
old=$speaker
cut_off_speaker
wait_until 10 has_state "$silent" solo && ! wait "${stream[get]}" && grep -q '"reset":1' "$WORK/get.json"
status=$?
[ $status -eq 0 ] || said get
result $status "reset: a takeover resets it at once"
rm -f "$WORK"/{echo,put}.up
wait_until 10 test -e "$WORK/echo.up" && wait_until 10 test -e "$WORK/put.up"
result $? "reset: the others go on"
[ "$(sum takeover_diverged)" -eq $((before + 1)) ]
result $? "reset: counted as takeover_diverged"
touch "$WORK"/{echo,put}.end
wait "${stream[echo]}" && wait "${stream[put]}"
result $? "reset: and end well"
ip -n switch link set "to-$old" up
settle

for host in primary backup; do set_control $host divergence ignore; done
before=$(sum diverged)
lies "$silent"
# Long enough for ten questions.
status=0
for _ in 1 2 3 4 5 6 7 8 9 10; do move_on || status=1; done
end_well && [ "$(sum diverged)" -eq "$before" ] && [ $status -eq 0 ]
result $? "ignore: nobody looks"
ktap_end
