#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The controls refuse what cannot be used, say why, and nothing half-starts. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
ktap_begin
module_load || bail "the module does not load"
trap topology_down EXIT
topology_up

# refused NAME VALUE REASON: EINVAL, and one log line with the reason; the value stays.
refused() {
    local before after lines
    before=$(primary cat "/proc/sys/net/sttcp/$1" 2>/dev/null)
    lines=$(dmesg | grep -c "sttcp: $1 refused")
    set_control primary "$1" "$2"
    local status=$?
    after=$(primary cat "/proc/sys/net/sttcp/$1" 2>/dev/null)
    [ $status -ne 0 ] && [ "$before" = "$after" ] &&
        [ "$(dmesg | grep -c "sttcp: $1 refused")" -eq $((lines + 1)) ] &&
        dmesg | grep "sttcp: $1 refused" | tail -1 | grep -q "$3"
    result $? "$1 refuses '$2': $3"
}
# takes NAME VALUE
takes() {
    set_control primary "$1" "$2" && { [ "$1" = key ] || [ "$(primary cat "/proc/sys/net/sttcp/$1")" = "$2" ]; }
    result $? "$1 takes '$2'"
}

[ "$(state primary)" = off ]; result $? "state is off at first"
refused role primary "service is not set"
refused role master "not a word"
refused service "" "no service"
refused service "10.0.0.100" "not an address"
refused service "10.0.0.100:0" "port 0"
refused service "10.0.0.100:80,10.0.0.100:80" "twice"
refused service "224.0.0.1:80" "unicast"
takes service "10.0.0.100:6379,[fd00::100]:*"
refused role primary "local is not set"
refused local "10.0.0.1" "not an address"
takes local "10.0.0.1:7077"
refused role primary "peer is not set"
takes peer "10.0.0.2:7077"
refused probe "10.0.0.254:7" "not an address"
refused probe "10.0.0" "not an address"
refused probe "255.255.255.255" "unicast"
takes probe "fd00::254"
takes probe "10.0.0.254"
takes probe ""
refused role primary "key is not set"
refused key "00" "32 to 256 bytes"
refused key "zz" "32 to 256 bytes\|hexadecimal"
refused key "$(printf 'g%.0s' $(seq 64))" "hexadecimal"
takes key "$KEY"
! primary cat /proc/sys/net/sttcp/key >/dev/null 2>&1; result $? "key cannot be read, or reads empty"
[ "$(primary stat -c %a /proc/sys/net/sttcp/key)" = 200 ]; result $? "key has mode 0200"
for value in 0 60001 x -1 ""; do refused heartbeat_interval_ms "$value" "number"; done
takes heartbeat_interval_ms 1
takes heartbeat_interval_ms 60000
[ "$(primary cat /proc/sys/net/sttcp/ack_policy)" = gated ]; result $? "ack_policy is gated"
for value in 1 Eager "eager gated" ""; do refused ack_policy "$value" "not a word"; done
takes ack_policy eager
takes ack_policy gated
for value in 0 600001 x -1 ""; do refused backup_stall_ms "$value" "number"; done
takes backup_stall_ms 600000
[ "$(primary cat /proc/sys/net/sttcp/isolation)" = serve ]; result $? "isolation is serve"
for value in 1 Yield ""; do refused isolation "$value" "not a word"; done
takes isolation yield
takes isolation serve
[ -z "$(primary cat /proc/sys/net/sttcp/fence_command)" ]; result $? "fence_command is empty"
refused fence_command "fence" "absolute path"
refused fence_command "/$(printf 'x%.0s' $(seq 255))" "more than 255 bytes"
refused fence_command "/x$(printf ' y%.0s' $(seq 16))" "16 words"
takes fence_command "/usr/local/sbin/fence-qemu 10.0.0.250 4401"
takes fence_command ""
for value in 0 600001 x -1 ""; do refused fence_timeout_ms "$value" "number"; done
takes fence_timeout_ms 600000
[ "$(primary cat /proc/sys/net/sttcp/app_failure)" = off ]; result $? "app_failure is off"
for value in 1 Node connections ""; do refused app_failure "$value" "not a word"; done
takes app_failure connection
takes app_failure node
takes app_failure off
for value in 60001 x -1 ""; do refused fin_hold_ms "$value" "number"; done
takes fin_hold_ms 0
for value in 600001 x -1 ""; do refused app_lag_ms "$value" "number"; done
takes app_lag_ms 600000
[ "$(primary cat /proc/sys/net/sttcp/app_lag_bytes)" = 0 ]; result $? "app_lag_bytes is 0"
for value in 1073741825 x -1 ""; do refused app_lag_bytes "$value" "number"; done
takes app_lag_bytes 1073741824
[ "$(primary cat /proc/sys/net/sttcp/divergence)" = warn ]; result $? "divergence is warn"
for value in 1 Warn node ""; do refused divergence "$value" "not a word"; done
takes divergence warn
takes divergence reset
takes divergence ignore
for name in retain_kb retain_total_mb; do
    for value in 1048577 x -1 ""; do refused $name "$value" "number"; done
    takes $name 0
    takes $name 1048576
done
for value in 1 101 1.5; do refused heartbeat_misses "$value" "number"; done
takes heartbeat_misses 2
takes heartbeat_misses 100
takes local "10.0.0.100:7077"
refused role primary "must not be a service address"
takes local "10.0.0.1:7077"
refused tap forward "not a word"
takes tap l2
refused takeover 1 "neither a backup"
primary ip addr del 10.0.0.1/24 dev eth0
refused role primary "could not start"
[ "$(state primary)" = off ]; result $? "and nothing half-started"
primary ip addr add 10.0.0.1/24 dev eth0
takes role primary
[ "$(state primary)" = solo ]; result $? "state is solo"
[ "$(primary cat /proc/sys/net/sttcp/epoch)" = 1 ]; result $? "epoch is 1"
refused service "10.0.0.100:80" "while the role is off"
refused role backup "while the role is off"
refused takeover 1 "neither a backup"
takes role off
[ "$(state primary)" = off ]; result $? "state is off again"
ktap_end
