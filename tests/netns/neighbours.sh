#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Neighbours: the backup keeps the way to its clients resolved, and does not answer for the service address. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
# No takeover is meant to happen here, however busy the machine is.
INTERVAL=500
begin

# known VERSION: the backup has the client's link-layer address.
known() {
    local to=10.0.0.10
    [ "$1" = 4 ] || to=fd00::10
    backup ip neigh show "$to" dev eth0 | grep -qi "lladdr $(client cat /sys/class/net/eth0/address)"
}

forgotten() {
    backup ip neigh flush dev eth0
    ! known "$1"
}

for version in 4 6; do
    client "$TRAFFIC" client echo --to "$(target $version)" --think 50 --mark-file "$WORK/up$version" --until-file "$WORK/end" \
        --timeout "$PATIENCE" >/dev/null 2>&1 &
    talkers="${talkers-} $!"
    wait_until 30 test -e "$WORK/up$version"
    wait_until 10 known $version; result $? "IPv$version: the way to the client is resolved when the shadow opens"
    # On a slow kernel it may be known again before one looks.
    wait_until 10 forgotten $version; result $? "IPv$version: and forgotten"
    # The backup sends nothing to the client by itself: the module asks.
    wait_until 20 known $version; result $? "IPv$version: it is resolved again without a packet"
done
touch "$WORK/end"
# shellcheck disable=SC2086 # two words
wait $talkers; result $? "and the connections lived"

# answers VERSION: who answers for the service address, as the client learns it.
answers() {
    local vip=$VIP4
    [ "$1" = 4 ] || vip=$VIP6
    client ip neigh del "$vip" dev eth0
    client ping -c 2 -W 2 -i 0.3 "$vip" >"$WORK/ping"; result $? "IPv$1: the service address answers ping"
    ! grep -q DUP "$WORK/ping"; result $? "IPv$1: once"
    client ip neigh show "$vip" dev eth0 | grep -q "$(ip netns exec "$speaker" cat /sys/class/net/eth0/address)"
    result $? "IPv$1: and it is the speaker who says that it has it"
    client ip neigh replace "$vip" lladdr 03:00:00:00:00:64 dev eth0 nud permanent
}
answers 4
answers 6
[ "$(counter backup arp_muted)" -gt 0 ]; result $? "the backup kept ARP replies to itself"
[ "$(counter backup neighbour_muted)" -gt 0 ]; result $? "and neighbour advertisements"
ktap_end
