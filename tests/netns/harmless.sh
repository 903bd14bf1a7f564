#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Traffic that is not the module's business, loading and unloading under load, namespaces deleted while active. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
# No takeover is meant to happen here, however busy the machine is.
INTERVAL=500
begin

# Other addresses of the same hosts, while the pair runs.
primary "$TRAFFIC" serve --listen 10.0.0.1:8000 --listen "[fd00::1]:8000" >/dev/null 2>&1 &
backup "$TRAFFIC" serve --listen 10.0.0.2:8000 >/dev/null 2>&1 &
other_listening() { ip netns exec "$1" ss -Hltn 'sport = :8000' | grep -q .; }
wait_until 10 other_listening primary && wait_until 10 other_listening backup
goes "another address of the primary" client get --to 10.0.0.1:8000 --bytes 4M
goes "another address of the primary, IPv6" client get --to "[fd00::1]:8000" --bytes 4M
goes "another address of the backup" client get --to 10.0.0.2:8000 --bytes 4M
[ "$(counter primary protected)" -eq 0 ]; result $? "none of them was touched"

# The backup is mute for the service address.
client ping -c 2 -W 2 -i 0.3 "$VIP4" >"$WORK/ping"; result $? "the service address answers ping"
! grep -q DUP "$WORK/ping"; result $? "once, not twice"
client ip neigh del "$VIP4" dev eth0
client ping -c 1 -W 2 "$VIP4" >/dev/null; result $? "it answers ARP"
[ "$(client cat /proc/net/arp | awk '$1 == "10.0.0.100" { print $4 }')" = "$(primary cat /sys/class/net/eth0/address)" ]
result $? "and the primary alone does"
client ip neigh replace "$VIP4" lladdr 03:00:00:00:00:64 dev eth0 nud permanent

# role=off: as if the module were not there.
set_control backup role off
wait_until 5 has_state primary solo; result $? "the primary is solo at once when the backup leaves"
set_control primary role off
# No module, no frames to a multicast address: the client needs the primary's own.
client ip neigh replace "$VIP4" lladdr "$(primary cat /sys/class/net/eth0/address)" dev eth0 nud permanent
segments=$(counter primary segments_in)
goes "role=off" client get --to "$(target 4)" --bytes 4M
[ "$(counter primary segments_in)" -eq "$segments" ]; result $? "role=off sees no packet"

# Loading and unloading under load, on every CPU: it switches the kernel's static keys and calls for the tracepoint and for netfilter.
# This shell comes before the load, which otherwise makes each of its commands wait; what is tested does not.
beside_load() { chrt -o 0 "$@"; }
client "$TRAFFIC" client echo --to 10.0.0.1:8000 --connections 4 --until-file "$WORK/stop" --mark-file "$WORK/up" >"$WORK/load" 2>&1 &
load=$!
wait_until 10 test -e "$WORK/up"
chrt -f -p 1 $$
LOADS=${LOADS:-25}
status=0
for _ in $(seq "$LOADS"); do
    rm "$WORK/up"
    beside_load rmmod sttcp && beside_load insmod "$MODULE" && configure primary 1 2 &&
        beside_load ip netns exec primary sh -c 'echo primary >/proc/sys/net/sttcp/role' || status=1
    # Each time bytes have moved on each connection.
    wait_until 10 test -e "$WORK/up" || status=1
done
result $status "$LOADS times rmmod and insmod under load"
touch "$WORK/stop"
wait $load; result $? "the load went on"
chrt -o -p 0 $$
echo "# $(sed -nE 's/.*"transactions":([0-9]+).*/\1/p' "$WORK/load") transactions in the meantime"

# Namespaces deleted while active.
client ip neigh replace "$VIP4" lladdr 03:00:00:00:00:64 dev eth0 nud permanent
configure backup 2 1 && set_control backup role backup
wait_until 10 has_state primary protected
client "$TRAFFIC" client echo --to "$(target 4)" --connections 20 --duration 5 --timeout 3 >/dev/null 2>&1 &
sleep 1
topology_down
status=0
rmmod sttcp || status=1
result $status "namespaces deleted while active, and the module goes"
ktap_end
