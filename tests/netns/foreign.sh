#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A client whose TCP is not Linux's: smoltcp behind a tun device in the client's namespace, routed onto the link.
# Topology: see lib.sh; 10.9.0.2 and fd09::2 are the client's, 10.9.0.1 and fd09::1 its router, 10.0.0.10.

. "$(dirname "$0")/lib.sh"
begin
modprobe -q tun # the debug kernel has it built in
client sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
for server in primary backup; do
    ip -n $server route add 10.9.0.0/24 via 10.0.0.10
    ip -n $server route add fd09::/64 via fd00::10
done
for kind in echo ask get; do
    survives "smoltcp over IPv4: $kind over a takeover" foreign $kind --make --tun tun4 --address 10.9.0.2/24 --gateway 10.9.0.1 --to "$(target 4)"
    survives "smoltcp over IPv6: $kind over a takeover" foreign $kind --make --tun tun6 --address fd09::2/64 --gateway fd09::1 --to "$(target 6)"
done
ktap_end
