#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The controls refuse what cannot be used, say why, and nothing half-starts. Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
ktap_begin
module_load || bail "the module does not load"
trap topology_down EXIT
topology_up

# A shell in the primary's namespace that reads and writes controls, so that not each of them costs a row of processes.
coproc inside {
    # shellcheck disable=SC2016 # expanded there
    ip netns exec primary bash -c 'cd /proc/sys/net/sttcp
        while read -r verb name value; do
            if [ "$verb" = set ]; then
                { printf "%s\\n" "$value" >"$name"; } 2>/dev/null
                echo $?
            else
                value=
                { read -r value <"$name"; } 2>/dev/null
                echo "$value"
            fi
        done'
}
# get NAME: in $got. put NAME VALUE
get() { echo "get $1" >&"${inside[1]}" && IFS= read -r got <&"${inside[0]}"; }
put() {
    local status
    echo "set $1 $2" >&"${inside[1]}" && read -r status <&"${inside[0]}" && return "$status"
}

# How many lines about a refusal there are for each control.
declare -A refusals
# refused NAME VALUE REASON: EINVAL, and one log line with the reason; the value stays.
refused() {
    local before lines
    # Other tests may have left some.
    [ -n "${refusals[$1]-}" ] || refusals[$1]=$(dmesg | grep -c "sttcp: $1 refused")
    get "$1" && before=$got
    ! put "$1" "$2" && get "$1" && [ "$before" = "$got" ]
    local status=$?
    lines=$(dmesg | grep "sttcp: $1 refused")
    refusals[$1]=$((refusals[$1] + 1))
    [ $status -eq 0 ] && [ "$(wc -l <<<"$lines")" -eq "${refusals[$1]}" ] && [[ ${lines##*$'\n'} =~ $3 ]]
    result $? "$1 refuses '$2': $3"
}
# takes NAME VALUE
takes() {
    put "$1" "$2" && { [ "$1" = key ] || { get "$1" && [ "$got" = "$2" ]; }; }
    result $? "$1 takes '$2'"
}
# reads NAME VALUE TEXT
reads() {
    get "$1" && [ "$got" = "$2" ]
    result $? "$3"
}

reads state off "state is off at first"
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
refused key "zz" "32 to 256 bytes|hexadecimal"
refused key "$(printf 'g%.0s' $(seq 64))" "hexadecimal"
takes key "$KEY"
! primary cat /proc/sys/net/sttcp/key >/dev/null 2>&1; result $? "key cannot be read, or reads empty"
[ "$(primary stat -c %a /proc/sys/net/sttcp/key)" = 200 ]; result $? "key has mode 0200"
for value in 0 60001 x -1 ""; do refused heartbeat_interval_ms "$value" "number"; done
takes heartbeat_interval_ms 1
takes heartbeat_interval_ms 60000
reads ack_policy gated "ack_policy is gated"
for value in 1 Eager "eager gated" ""; do refused ack_policy "$value" "not a word"; done
takes ack_policy eager
takes ack_policy gated
for value in 0 600001 x -1 ""; do refused backup_stall_ms "$value" "number"; done
takes backup_stall_ms 600000
reads isolation serve "isolation is serve"
for value in 1 Yield ""; do refused isolation "$value" "not a word"; done
takes isolation yield
takes isolation serve
reads fence_command "" "fence_command is empty"
refused fence_command "fence" "absolute path"
refused fence_command "/$(printf 'x%.0s' $(seq 255))" "more than 255 bytes"
refused fence_command "/x$(printf ' y%.0s' $(seq 16))" "16 words"
takes fence_command "/usr/local/sbin/fence-qemu 10.0.0.250 4401"
takes fence_command ""
for value in 0 600001 x -1 ""; do refused fence_timeout_ms "$value" "number"; done
takes fence_timeout_ms 600000
reads app_failure off "app_failure is off"
for value in 1 Node connections ""; do refused app_failure "$value" "not a word"; done
takes app_failure connection
takes app_failure node
takes app_failure off
for value in 60001 x -1 ""; do refused fin_hold_ms "$value" "number"; done
takes fin_hold_ms 0
for value in 600001 x -1 ""; do refused app_lag_ms "$value" "number"; done
takes app_lag_ms 600000
reads app_lag_bytes 0 "app_lag_bytes is 0"
for value in 1073741825 x -1 ""; do refused app_lag_bytes "$value" "number"; done
takes app_lag_bytes 1073741824
reads divergence warn "divergence is warn"
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
reads state off "and nothing half-started"
primary ip addr add 10.0.0.1/24 dev eth0
takes role primary
reads state solo "state is solo"
reads epoch 1 "epoch is 1"
refused service "10.0.0.100:80" "while the role is off"
refused role backup "while the role is off"
refused takeover 1 "neither a backup"
takes role off
reads state off "state is off again"
ktap_end
