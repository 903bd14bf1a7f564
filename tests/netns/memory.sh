#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Memory that is not to be had, at each site where the module asks for it (src/sys/fail.rs): every request, every third, every seventh.
# Traffic goes on with every byte right, connections become unprotected, nothing half-starts, and nothing is left. Topology: see lib.sh.

MODULE=${FAULTS_MODULE:-/share/sttcp-faults.ko}
. "$(dirname "$0")/lib.sh"
# No takeover is meant to happen here but those that are asked for, however busy the machine is.
INTERVAL=500
KNOB=/sys/module/sttcp/parameters/fail

# fail SITE N: every N-th request at the site fails from now on; with 0 none does. What failed until then is noted down.
fail() {
    awk '$3 { print $1 }' "$KNOB" >>"$WORK/failed"
    echo "$1 $2" >"$KNOB"
}
# failures SITE: how many did.
failures() { awk -v site="$1" '$1 == site { print $3 }' "$KNOB"; }
failed() { [ "$(failures "$1")" -ge "${2:-1}" ]; }

loaded() { grep -q '^sttcp ' /proc/modules; }
unload() { loaded && rmmod sttcp; }
# leftovers: what a module that did not start must not leave behind.
leftovers() { loaded || [ -e /proc/net/sttcp ] || [ -e /proc/net/sttcp_stat ] || [ -e /proc/sys/net/sttcp ]; }
# whole SPACE: a namespace has everything of the module.
whole() { ip netns exec "$1" sh -c 'cat /proc/net/sttcp /proc/net/sttcp_stat /proc/sys/net/sttcp/role >/dev/null'; }
# channels: how many sockets of the peer channel there are on the primary.
channels() { primary ss -Hnua | grep -c :7077; }
log_lines() { dmesg | grep -c 'sttcp:'; }

# packets: how many packets the kernel has in memory. Shrinking a cache makes its count exact.
packets() {
    local cache sum=0
    for cache in skbuff_head_cache skbuff_fclone_cache; do
        echo 1 >"/sys/kernel/slab/$cache/shrink"
        sum=$((sum + $(cut -d' ' -f1 "/sys/kernel/slab/$cache/objects")))
    done
    echo $sum
}

# refuses_to_load SITE N: insmod fails, and nothing is left.
refuses_to_load() {
    ! insmod "$MODULE" fail="\"$1 $2\"" 2>"$WORK/insmod" && ! leftovers && grep -q "Cannot allocate memory" "$WORK/insmod"
    result $? "insmod is refused: no memory for $1, request $2"
    echo "$1" >>"$WORK/failed"
    unload
}

# refuses_a_namespace SITE N: with the module loaded, making namespaces fails at some time, and the others are well.
refuses_a_namespace() {
    local space made='' status=1 number
    fail "$1" "$2"
    for number in 1 2 3 4 5 6 7; do
        space=spare$number
        ip netns add $space 2>"$WORK/netns" || {
            grep -q "Cannot allocate memory" "$WORK/netns" && [ ! -e "/run/netns/$space" ]
            status=$?
            break
        }
        made="$made $space"
    done
    [ "$(failures "$1")" -eq 1 ] || status=1
    fail "$1" 0
    for space in $made primary; do whole "$space" || status=1; done
    ip netns add spare && whole spare || status=1
    for space in $made spare; do ip netns del "$space"; done
    result $status "ip netns add is refused: no memory for $1, every $2. request"
}

# refuses_the_role SITE N: the start of the role that asks for the N-th time is refused with one line, nothing half-starts, and the next
# one is not refused.
refuses_the_role() {
    local status=1 lines number
    fail "$1" "$2"
    for number in $(seq "$2"); do
        lines=$(log_lines)
        set_control primary role primary || {
            status=0
            break
        }
        set_control primary role off
    done
    has_state primary off && [ "$(channels)" -eq 0 ] && [ "$(failures "$1")" -eq 1 ] &&
        [ "$(log_lines)" -eq $((lines + 1)) ] && dmesg | grep 'sttcp:' | tail -1 | grep -q 'role refused: no memory' || status=1
    fail "$1" 0
    set_control primary role primary && has_state primary solo && set_control primary role off || status=1
    result $status "role is refused, start $number: no memory for $1, every $2. request"
}

# talk: one client of each kind, one after the other; every byte is checked.
talk() {
    client "$TRAFFIC" client echo --to "$(target 4)" --connections 16 --count 10 --timeout "$PATIENCE" &&
        client "$TRAFFIC" client greet --to "$(target 6 $GREET)" --connections 4 --count 5 --timeout "$PATIENCE" &&
        client "$TRAFFIC" client get --to "$(target 4)" --bytes 1M --timeout "$PATIENCE" &&
        client "$TRAFFIC" client put --to "$(target 6)" --bytes 256K --timeout "$PATIENCE"
} >"$WORK/result" 2>"$WORK/errors"

# protects: with memory again, a new connection is protected.
protects() {
    local before pid status
    settle || return 1
    before=$(counter $speaker protected)
    rm -f "$WORK/end"
    client "$TRAFFIC" client echo --to "$(target 4)" --timeout "$PATIENCE" --until-file "$WORK/end" >"$WORK/result" 2>"$WORK/errors" &
    pid=$!
    wait_until 10 moved $speaker protected "$before"
    status=$?
    touch "$WORK/end"
    wait $pid && return $status
}

# both COUNTER: of the two hosts together.
both() { echo $(($(counter primary "$1") + $(counter backup "$1"))); }
# hit SITE COUNTER BEFORE: a request at the site has failed, and the counter, if there is one, has moved.
hit() { failed "$1" && { [ -z "$2" ] || [ "$(both "$2")" -gt "$3" ]; }; }

# goes_on SITE N [COUNTER]: traffic goes on while requests fail; the counter moves.
goes_on() {
    local site=$1 every=$2 name=${3-} before=0 status
    settle || echo "# the pair is not in step"
    [ -z "$name" ] || before=$(both "$name")
    # Else the primary's word is now and then faster than the client's bytes.
    [ "$site" != pending ] || "$speaker" tc qdisc add dev eth0 root netem delay 20ms
    fail "$site" "$every"
    # How often traffic asks depends on how it falls into packets.
    for _ in 1 2 3; do
        talk
        status=$?
        [ $status -eq 0 ] || {
            echo "# $(cat "$WORK/result" "$WORK/errors")"
            break
        }
        ! hit "$site" "$name" "$before" || break
    done
    [ "$site" != pending ] || "$speaker" tc qdisc del dev eth0 root
    result $status "no memory for $site, every $every. request: traffic goes on"
    hit "$site" "$name" "$before"
    result $? "$(failures "$site") requests failed${name:+, $name moved by $(($(both "$name") - before))}"
    fail "$site" 0
    protects
    result $? "and then a new connection is protected"
}

# survives_without SITE N WHEN TEXT ARGUMENTS...: a takeover while requests fail, from before it or from the cut on. With memory again
# bytes come on each connection.
survives_without() {
    local site=$1 every=$2 when=$3 text=$4 pid status=0
    shift 4
    rm -f "$WORK/up" "$WORK/end"
    settle || echo "# the pair is not in step"
    client "$TRAFFIC" "$@" --timeout "$PATIENCE" --mark-file "$WORK/up" --until-file "$WORK/end" >"$WORK/result" 2>"$WORK/errors" &
    pid=$!
    wait_until 30 test -e "$WORK/up" || echo "# the client did not begin"
    if [ "$when" = before ]; then
        fail "$site" "$every"
        wait_until 10 failed "$site" || status=1
    fi
    ip -n switch link set "to-$speaker" down
    [ "$when" = before ] || fail "$site" "$every"
    wait_until 20 has_state "$silent" solo || status=1
    wait_until 10 failed "$site" || {
        echo "# no request failed"
        status=1
    }
    fail "$site" 0
    rm -f "$WORK/up"
    wait_until 20 went_on_or_ended $pid
    if ended $pid || [ ! -e "$WORK/up" ]; then
        status=1
        echo "# not all connections went on after the takeover"
        describe
    fi
    touch "$WORK/end"
    wait $pid || status=1
    rejoin || status=1
    [ $status -eq 0 ] || echo "# $(cat "$WORK/result" "$WORK/errors")"
    result $status "no memory for $site, every $every. request: $text"
}

# pieces: sends a SYN in fragments, the first of which ends inside the TCP header; the second is too long to be copied behind it.
pieces() {
    client python3 - "$VIP4" "$PORT" <<'PYTHON'
import socket, struct, sys

def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff

source, service, port = socket.inet_aton("10.0.0.10"), socket.inet_aton(sys.argv[1]), int(sys.argv[2])
tcp = struct.pack("!HHIIBBHHH", 39999, port, 1, 0, 5 << 4, 2, 1000, 0, 0) + bytes(1200)
pseudo = source + service + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(tcp))
tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for offset, more in (0, 0x2000), (8, 0):
    part = tcp[offset:offset + 8] if more else tcp[offset:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(part), 4711, more | offset // 8, 64, socket.IPPROTO_TCP, 0, source, service)
    raw.sendto(ip + part, (sys.argv[1], 0))
PYTHON
}

# sees_pieces N COUNTER: both hosts count a SYN in pieces so.
sees_pieces() {
    local primary_before backup_before
    primary_before=$(counter primary "$2") backup_before=$(counter backup "$2")
    fail pull "$1"
    pieces
    wait_until 5 moved primary "$2" "$primary_before" && wait_until 5 moved backup "$2" "$backup_before" &&
        { [ "$1" -eq 0 ] || [ "$(failures pull)" -ge 2 ]; }
    result $? "headers in pieces, memory for them failing every $1. time: $2"
    fail pull 0
}
moved() { [ "$(counter "$1" "$2")" -gt "$3" ]; }

few_packets() {
    after=$(packets)
    [ "$after" -lt $((before + 100)) ]
}

# text: where the module's functions begin and end.
text() { awk '$4 == "[sttcp]" && $2 ~ /^[tT]$/ { print "0x" $1 }' /proc/kallsyms | sort | sed -n '1p; $p'; }
# orphans FIRST LAST: small memory that functions between the two asked for and that is still there, with the stack of who did. The kernel
# takes note of that if it was booted so, see scripts/run-netns.sh. Of a module that is gone it knows the addresses only. What other
# functions ask for further down the stack is theirs: neighbours, or whatever a softirq does meanwhile.
# Connections lie in a cache of their own; when that goes, the kernel complains of what is left in it.
orphans() {
    awk -v RS= -v first="$1" -v last="$2" '$2 "" >= first "" && $2 "" <= last ""' /sys/kernel/debug/slab/kmalloc-*/alloc_traces
}
no_orphans() { [ -z "$(orphans "$@")" ]; }
# noted: what the loaded module has asked for is among the notes, by name.
noted() { grep -qs '^ *[0-9]* [^ ]* \[sttcp\]' /sys/kernel/debug/slab/kmalloc-*/alloc_traces; }
# goes_without_trace: the module can be unloaded, and leaves nothing.
goes_without_trace() {
    local span status=0
    mapfile -t span < <(text)
    noted || status=1
    unload; result $? "the module goes"
    grep -qsx 1 /sys/kernel/slab/kmalloc-64/store_user || {
        skip "no memory is left of it" "the kernel was booted without slab_debug=U,kmalloc-*"
        return
    }
    [ $status -eq 0 ] || echo "# the kernel's notes had nothing of it while it was there"
    if [ ${#span[@]} -ne 2 ] || ! wait_until 20 no_orphans "${span[@]}"; then
        status=1
        orphans "${span[@]}" | sed 's/^/# /' | head -60
    fi
    result $status "no memory is left of it"
}
has_no_connections() { [ "$(ip netns exec "$1" cat /proc/net/sttcp | grep -vc '^client ')" -eq 0 ]; }

ktap_begin
insmod "$MODULE" fail="\"pernet 0\"" || { echo "Bail out! no module built with FAULTS=1"; exit 1; }
unload
trap topology_down EXIT
before=$(packets)
topology_up

# Loading. Five namespaces are there, so a later request is one of another namespace.
refuses_to_load pernet 1
refuses_to_load pernet 2
refuses_to_load slab 1
for site in namespace proc sysctl; do
    for every in 1 3 7; do refuses_to_load $site $every; done
done
module_load; result $? "with memory it loads"

# New namespaces.
for site in namespace proc sysctl; do
    for every in 1 3 7; do refuses_a_namespace $site $every; done
done

# Roles.
configure primary 1 2
for site in table node hooks tracepoint socket; do
    for every in 1 3 7; do refuses_the_role $site $every; done
done
goes_without_trace
topology_down

# A pair that cannot talk: nothing is protected, everything goes on. Nor does a backup that never heard its primary take over.
module_load
pair_up; result $? "a pair is in step"
for site in datagram linear route; do
    set_control backup role off
    set_control primary role off
    fail $site 1
    set_control primary role primary && set_control backup role backup
    # Two heartbeats of each would have been enough to meet.
    wait_until 20 failed $site 8 && has_state primary solo && has_state backup waiting && talk
    result $? "no memory for $site at all: solo, and traffic goes on; $(failures $site) requests failed"
    fail $site 0
    protects; result $? "and then a new connection is protected"
done

# A pair in step.
for every in 1 3 7; do
    goes_on connection $every unprotected_no_memory
    goes_on shadow $every unprotected_no_memory
    goes_on send $every unprotected_no_memory
    goes_on write $every unprotected_no_memory
    goes_on pending $every no_memory
    goes_on hold $every
    goes_on neighbour $every
done
goes_on inject 1 unprotected_no_memory
for every in 3 7; do
    goes_on inject $every emit_failed
    goes_on datagram $every peer_send_failed
    goes_on linear $every peer_no_memory
    goes_on route $every
done
rm -f "$WORK/end"
fail shadow 1
client "$TRAFFIC" client echo --to "$(target 4)" --timeout "$PATIENCE" --until-file "$WORK/end" >"$WORK/result" 2>&1 &
pid=$!
wait_until 10 ip netns exec $speaker grep -q unprotected_no_memory /proc/net/sttcp
result $? "/proc/net/sttcp says why a connection is unprotected"
fail shadow 0
touch "$WORK/end"
wait $pid; result $? "which goes on"
sees_pieces 0 segments_in
sees_pieces 1 malformed_segments

# Takeovers.
for every in 1 3; do
    survives_without hold $every before "echo survives, its held output not held" client echo --to "$(target 4)" --connections 4
    survives_without hold $every before "a download does" client get --to "$(target 6)" --size 2M
    survives_without announce $every cut "the address not announced" client echo --to "$(target 4)" --connections 4
    survives_without send $every cut "an upload, its acknowledgement at takeover not sent" client put --to "$(target 4)" --size 1M --connections 4
done
survives_without neighbour 1 before "the way to the client not asked for" client churn --to "$(target 4)" --connections 2 --tolerate connect,early
survives_without write 3 cut "echo, its translation failing" client echo --to "$(target 4)" --connections 4
survives_without write 7 cut "a download, its translation failing" client get --to "$(target 6)" --size 2M
survives_without inject 3 before "echo, injected segments failing" client echo --to "$(target 6)" --connections 4

# fences_without N: there is no memory to run fence_command. The backup waits, and takes over when there is.
fences_without() {
    local status=0 before
    settle || status=1
    before=$(counter "$silent" fences_failed)
    set_control "$silent" fence_command /bin/true
    fail helper "$1"
    ip -n switch link set "to-$speaker" down
    wait_until 20 moved "$silent" fences_failed "$before" && has_state "$silent" fencing || status=1
    fail helper 0
    wait_until 20 has_state "$silent" solo || status=1
    set_control "$silent" fence_command ""
    rejoin || status=1
    result $status "no memory for helper, every $1. request: the backup waits, and takes over when there is"
}
# Two words of its environment, and the program.
for every in 1 2 3; do fences_without $every; done

# Nothing is left.
for server in primary backup; do
    wait_until 10 has_no_connections $server; result $? "$server: no connection is left"
    set_control $server role off; result $? "$server: role off"
done
fail pull 0
missing=$(awk '{ print $1 }' "$KNOB" | grep -vxFf "$WORK/failed")
[ -z "$missing" ]; result $? "memory failed at every site${missing:+ but $missing}"
topology_down
goes_without_trace
wait_until 10 few_packets
result $? "packets in memory: $before before, $after after"
ktap_end
