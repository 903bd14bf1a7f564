#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# app_failure=connection: of two servers on the primary one fails, and its connections, and no others, go on at the backup. Then the primary is lost, and
# then the backup. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
OTHER=7010
begin

# serve_other HOST: a second program, on a port of its own.
serve_other() {
    ip netns exec "$1" "$TRAFFIC" serve --listen "$VIP4:$OTHER" --listen "[$VIP6]:$OTHER" >"$WORK/other.$1" 2>&1 &
    wait_until 10 eval "ip netns exec $1 ss -Hltn 'sport = :$OTHER' | grep -q ."
}
for host in primary backup; do
    set_control $host app_failure connection
    set_control $host fin_hold_ms $((1000 * SLOW))
    set_control $host app_lag_ms $((1000 * SLOW))
    serve_anew $host
    serve_other $host
done
[ "$(primary cat /proc/sys/net/sttcp/app_failure)" = connection ]
result $? "app_failure is connection"
settle

# lines HOST PORT STATE: how many connections of that port are in that state there.
lines() { ip netns exec "$1" awk -v port=":$2\$" -v state="$3" '$2 ~ port && $3 == state' /proc/net/sttcp | wc -l; }
all_are() { [ "$(lines "$1" "$2" "$3")" -eq "$4" ]; }
# talk NAME PORT: an echo that goes on until it is told to stop.
talk() {
    rm -f "$WORK/$1."*
    client "$TRAFFIC" client echo --to "$(target 4 "$2")" --connections 3 --think 5 --timeout "$PATIENCE" \
        --mark-file "$WORK/$1.mark" --until-file "$WORK/$1.stop" >"$WORK/$1.json" 2>"$WORK/$1.errors" &
    stream[$1]=$!
    wait_until 15 test -e "$WORK/$1.mark"
}
goes_on() { rm -f "$WORK/$1.mark" && wait_until 15 test -e "$WORK/$1.mark"; }
ends() {
    touch "$WORK/$1.stop"
    wait "${stream[$1]}" && return
    said "$1"
    return 1
}

# moves_alone TEXT SIGNAL: the program behind the streams gets the signal on the speaker; the other program's connections stay where they are.
moves_alone() {
    local text=$1 sent=$2 old=${server[$speaker]} moved
    moved=$(counter "$speaker" connections_moved)
    streams 4 --think 5 && talk other $OTHER && wait_until 10 all_protected
    result $? "$text: streams of two servers are protected"
    kill "-$sent" "$old"
    wait_until 15 all_are "$speaker" $PORT moved 5 && wait_until 5 all_are "$silent" $PORT migrated 5
    result $? "$text: the connections of one have moved"
    all_are "$speaker" $OTHER protected 3 && all_are "$silent" $OTHER shadow 3 && has_state "$speaker" protected && has_state "$silent" shadowing
    result $? "$text: those of the other have not, nor has the node"
    [ "$(counter "$speaker" connections_moved)" -eq $((moved + 5)) ] && dmesg | grep -q 'sttcp: the server .* that goes on with the connection'
    result $? "$text: connections_moved, and a line in the log"
    move_on && goes_on other
    result $? "$text: all streams go on"
    kill -CONT "$old" 2>/dev/null
    kill -KILL "$old" 2>/dev/null
    wait_until 5 eval "! listening $speaker"
    # The other program lives on.
    serve "$speaker"
    wait_until 10 listening "$speaker"
    goes "$text: new connections are served here again" client echo --to "$(target 4)" --connections 3 --count 20
}

for how in "killed KILL" "ended TERM" "stopped STOP"; do
    moves_alone "${how% *}" "${how#* }"
    end_well && ends other
    result $? "${how% *}: and end well"
    echo "# longest pauses: echo $(gap echo) ms, download $(gap get) ms, upload $(gap put) ms"
    wait_until 10 all_are "$speaker" $PORT moved 0
    result $? "${how% *}: nothing is left of them here"
done

# The primary is lost: what has moved stays, and the rest follows.
moves_alone "then the host is lost" KILL
old=$speaker
ip -n switch link set "to-$speaker" down
wait_until 10 has_state "$silent" solo && move_on && goes_on other
result $? "the backup takes over, and all streams go on"
end_well && ends other
result $? "and end well"
ip -n switch link set "to-$old" up
settle
result $? "the lost host is the backup of the other"

# The backup is lost: so is what it carried, and the client is told at once.
serve_anew "$silent"
serve_other "$silent"
moves_alone "then the backup is lost" KILL
ip -n switch link set "to-$silent" down
wait_until 10 has_state "$speaker" solo
# Nobody tells them to stop: it is the reset that ends each.
for expected in "echo 3" "get 1" "put 1"; do
    read -r kind count <<<"$expected"
    ! wait "${stream[$kind]}" && grep -q "\"reasons\":{\"reset\":$count}" "$WORK/$kind.json"
    status=$?
    [ $status -eq 0 ] || said "$kind"
    result $status "what it carried is reset: $kind"
done
goes_on other && ends other
result $? "the others go on"
[ "$(counter "$speaker" moved_reset)" -eq 5 ]
result $? "counted as moved_reset ($(counter "$speaker" moved_reset))"
ip -n switch link set "to-$silent" up
settle
result $? "the pair is in step again"
ktap_end
