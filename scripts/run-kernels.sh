#!/bin/bash
# Runs the tests of run-netns.sh on each kernel that the module is meant for, one after the other.   run-kernels.sh [NAME...]
# KERNELS="SUITE ..." picks other ones. The kernels' logs stay in build/results/netns-SUITE.dmesg.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
unset STTCP_KERNEL
status=0
for STTCP_SUITE in ${KERNELS:-$STTCP_STABLE forky}; do
    echo "# kernel $(scripts/kernel.sh release)"
    rm -f build/results/netns.dmesg
    scripts/run-netns.sh "$@" || status=1
    [[ ! -e build/results/netns.dmesg ]] || mv build/results/netns.dmesg "build/results/netns-$STTCP_SUITE.dmesg"
done
exit "$status"
