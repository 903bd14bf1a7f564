#!/bin/bash
# Runs tests/netns/*.sh one after the other in one guest and prints their KTAP.   run-netns.sh [NAME...]
# NAME (or TESTS="NAME ...") picks tests/netns/NAME.sh; without, all but `memory`, see run-memory.sh. The kernel's log stays in build/results/netns.dmesg,
# that of `memory` in netns-memory.dmesg.
# STTCP_FLAVOUR and PLANT are as of module.sh, and name the log too: netns-debug.dmesg, netns-debug-leak.dmesg.
# LEAKS=0 looks for no lost memory. SLOW=N multiplies every interval and every patience of the tests, for kernels that are slow.
# A guest that the emulator kills is followed by another, once.
# GROUP=suites runs tests/suites/*.sh instead, for run-suites.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
GROUP=${GROUP:-netns}
names=$(pick "tests/$GROUP" "$@")
flavour=${STTCP_FLAVOUR:+-$STTCP_FLAVOUR}${PLANT:+-$PLANT}
log=$GROUP$flavour
# The test of memory has a guest to itself: its kernel notes down who asks for small memory, so that what the module leaves behind has a
# name. That slows it. The debug kernel has kmemleak for that.
if [[ -z $flavour ]] && grep -qx memory <<<"$names"; then
    if [[ $names == memory ]]; then
        STTCP_APPEND="${STTCP_APPEND-} slab_debug=U,kmalloc-*"
        log=netns-memory
    elif [[ -z $*${TESTS-} ]]; then
        names=$(grep -vx memory <<<"$names")
    else
        die "the test memory has a guest to itself: TESTS=memory"
    fi
fi
scripts/module.sh
scripts/traffic.sh
mkdir -p build/results
share=$(mktemp -d)
trap 'rm -rf "$share" "$share.out"' EXIT
mkdir "$share/tests"
cp -r tests/netns tests/suites tests/bench tests/ktap.sh "$share/tests/"
cp "build/module$flavour/sttcp.ko" build/sttcp-traffic tests/guest/netns-job scripts/fence/fence-agents.sh "$share/"
if grep -qx memory <<<"$names"; then
    OUT=build/faults$flavour FAULTS=1 scripts/module.sh
    cp "build/faults$flavour/sttcp.ko" "$share/sttcp-faults.ko"
fi
printf '%s\n' "$names" >"$share/names"
# What tests can be told from outside.
for name in GROUP ONLY LIMIT SWITCHOVERS TAKEOVERS TAP_LOSS ACK_POLICY BYTES MEASURE SEED INTERVAL ROUNDS FORGED LOADS HOSTILE PAUSE ENDS STRESS TOP MODES COUNTS SETUPS ECHOES MEGABYTES CONNECTIONS ACTIVE RUNS INTERVALS KINDS NETWORKS SLOW LEAKS STTCP_TEST_LIMIT; do
    [[ -z ${!name-} ]] || printf 'export %s=%q\n' "$name" "${!name}"
done >"$share/env"

# Prints the test that had begun and not ended, if the guest died of what emulators do to a kernel that changes its code (docs/kernel-notes.md).
struck_down() {
    if grep -aq 'Oops: int3' "build/results/$log.dmesg"; then
        awk '$2 == "begin" { name = $3 } $2 == "end" { name = "" } END { print name }' "$share.out"
    fi
}

for attempt in 1 2; do
    say "booting a guest for: $(tr '\n' ' ' <"$share/names")..."
    status=0
    scripts/guest.sh -m "${STTCP_MEMORY:-3072}" -c "${STTCP_CPUS:-2}" -t "${STTCP_TIMEOUT:-3600}" -l "build/results/$log.dmesg" \
        -a "${STTCP_APPEND-}" "$share" netns-job | tee "$share.out" || status=$?
    name=$(struck_down)
    [[ $status -ne 0 && $attempt -eq 1 && -n $name ]] || break
    say "the emulator killed that guest in $name; another one goes on from there"
    echo "# again $name"
    cp "build/results/$log.dmesg" "build/results/$log-int3.dmesg"
    sed -i -n "/^$name\$/,\$p" "$share/names"
    rm -f "$share/status"
done
exit "$status"
