#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The kernel's own self-tests of TCP sockets without the module, and with it loaded and every role off: the results must be the same.
# Each runs in a network namespace of its own, on its loopback device or on what it sets up itself.

. "$(dirname "$0")/lib.sh"

# Directory and command; those of tcp_ao follow.
tests=(
    "net ./tcp_fastopen_backup_key.sh"
    "net ./tcp_inq"
    "net ./tcp_inq -4"
    "net ./msg_zerocopy.sh"
    "net ./txtimestamp -4 -L 127.0.0.1"
    "net ./txtimestamp -6 -L ::1"
    "net ./reuseport_bpf"
    "net ./reuseport_bpf_cpu"
    "net ./reuseport_bpf_numa"
    "net ./reuseport_dualstack"
    "net ./reuseport_addr_any"
    "net ./reuseaddr_conflict"
    "net ./reuseaddr_ports_exhausted.sh"
    "net ./stress_reuseport_listen.sh"
    "net ./bind_bhash.sh"
    "net ./bind_timewait"
    "net ./bind_wildcard"
    "net ./ip_local_port_range"
    "net ./tcp_port_share"
    "net ./sk_bind_sendto_listen"
    "net ./sk_connect_zero_addr"
    "net ./sk_so_peek_off"
    "net ./so_incoming_cpu"
    "net ./getsockopt_iter"
    "net ./test_so_rcv.sh"
    "net ./epoll_busy_poll"
    "net ./socket"
    "net/mptcp ./mptcp_sockopt"
    "net/mptcp ./mptcp_inq -t tcp -r tcp"
    "net/mptcp ./mptcp_inq -6 -t tcp -r tcp"
)

# once DIRECTORY COMMAND... : in a namespace of its own; its output is in $WORK/said.
once() {
    local status=0
    ip netns add scratch
    ip -n scratch link set lo up
    ip netns exec scratch bash -c 'cd "$1" && shift && exec timeout -k 5 40 "$@"' once "$SELFTESTS/$1" "${@:2}" >"$WORK/said" 2>&1 </dev/null || status=$?
    ip netns pids scratch | xargs -r kill -9
    ip netns del scratch
    return $status
}

# verdict STATUS: its exit status and each result that it told; numbers in names are counts and times. How far it gets in time is chance.
verdict() {
    echo "exit $1"
    [ "$1" != 124 ] || return 0
    sed -nE 's/^(ok|not ok) [0-9]+:? */\1 /p' "$WORK/said" | sed -E 's/[0-9]+/N/g' | sort
}

# attempt NAME DIRECTORY COMMAND...: its verdict is in $WORK/NAME, its output in $WORK/NAME.said.
attempt() {
    local status=0
    once "${@:2}" || status=$?
    verdict $status >"$WORK/$1"
    cp "$WORK/said" "$WORK/$1.said"
}

# match: a verdict with the module that was seen without it as well.
match() {
    local one other
    for one in "$WORK"/with.[123]; do
        for other in "$WORK"/without.[123]; do
            ! cmp -s "$one" "$other" || { echo "$one" && return; }
        done
    done
    return 1
}

ktap_begin
good=0
for module in "$SUITES"/modules/*.ko; do insmod "$module" || echo "# no $module"; done
for version in 4 6; do
    for name in connect rst restore seq-ext self-connect setsockopt-closed connect-deny icmps-accept icmps-discard unsigned-md5 key-management bench-lookups; do
        tests+=("net/tcp_ao ./${name}_ipv$version")
    done
done
mapfile -t tests < <(for test in "${tests[@]}"; do ! wanted "$test" || printf '%s\n' "$test"; done)

for test in "${tests[@]}"; do
    name="${test%% *}/${test#* ./}"
    [ $SECONDS -lt "${LIMIT:-300}" ] || {
        skip "$name" "begins none after ${LIMIT:-300} s"
        continue
    }
    rm -f "$WORK"/with*
    # Some of them depend on chance: three tries for each to give a result that was seen without the module.
    for try in 1 2 3; do
        # shellcheck disable=SC2086 # words on purpose
        attempt without.$try $test
        module_load || bail "the module does not load"
        # shellcheck disable=SC2086 # words on purpose
        attempt with.$try $test
        rmmod sttcp || bail "the module does not go"
        found=$(match) && break
    done
    if [ -z "$found" ]; then
        diff "$WORK/without.1" "$WORK/with.1" | sed 's/^/# /'
        note "$WORK/with.1.said"
        result 1 "$name: with the module otherwise than without"
        continue
    fi
    code=$(sed -n 's/^exit //p' "$found") passes=$(grep -c '^ok' "$found") failures=$(grep -c '^not ok' "$found")
    skips=$(grep -ci '^ok.*# *SKIP' "$found")
    text="$name: exit $code, $((passes - skips)) pass, $failures fail, $skips skipped; the same without the module"
    if [ "$code" = 4 ] || { [ "$code" = 0 ] && [ "$skips" -gt 0 ] && [ "$skips" = "$passes" ]; }; then
        skip "$name" "$(grep -i skip "$found.said" | tail -1 | cut -c1-150)"
    elif [ "$code" = 124 ]; then
        skip "$name" "takes more than 40 s in an emulated guest"
    elif [ "$code" != 0 ]; then
        note "$found.said"
        skip "$name: exit $code, $((passes - skips)) pass, $failures fail" "fails on this kernel and machine without the module as well"
    else
        result 0 "$text"
        good=$((good + 1))
    fi
done
# If nothing works, the same results prove nothing.
result $((good == 0)) "$good self-tests pass"
skip "net/packetdrill" "Debian has no packetdrill"
skip "net/fin_ack_lat.sh" "measures for half a minute and has no verdict"
skip "net/tls" "takes minutes in an emulated guest"
skip "net/tcp_mmap" "sends 32 GiB, which an emulated guest does not do in time"
skip "net/tfo_passive.sh" "the stock kernel has no netdevsim"
ktap_end
