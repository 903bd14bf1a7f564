#!/bin/bash
# Runs the tests of run-netns.sh on each kernel that the module is meant for, one after the other.   run-kernels.sh [NAME...]
# KERNELS="SUITE ..." picks other ones. The kernels' logs stay in build/results/netns-SUITE.dmesg and netns-memory-SUITE.dmesg.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
unset STTCP_KERNEL
status=0
# Debian 13's comes last: then it is its module that is left in the checkout.
for STTCP_SUITE in ${KERNELS:-forky $STTCP_STABLE}; do
    kernel=$(scripts/kernel.sh)
    echo "# kernel $(<"$kernel/release"): $(sed -n 's/^CONFIG_\(RUSTC\|CC\)_VERSION_TEXT="\(.*\)"/\2/p' "$kernel/config" | paste -sd,)"
    rm -f build/results/netns{,-memory}.dmesg
    [[ -n $*${TESTS-} ]] || scripts/run-memory.sh || status=1
    scripts/run-netns.sh "$@" || status=1
    for log in netns netns-memory; do
        [[ ! -e build/results/$log.dmesg ]] || mv "build/results/$log.dmesg" "build/results/$log-$STTCP_SUITE.dmesg"
    done
done
exit "$status"
