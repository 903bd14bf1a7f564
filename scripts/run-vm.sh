#!/bin/bash
# Runs tests/vm/*.sh, each with guests of its own (scripts/segment.sh), and prints their KTAP.   run-vm.sh [NAME...]
# Guests' kernel logs stay in build/results/vm-NAME/.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
names=$(pick tests/vm "$@")
scripts/module.sh
scripts/traffic.sh
mkdir -p build/results
status=0
for name in $names; do
    echo "# begin $name"
    code=0 began=$SECONDS
    STTCP_RESULTS=$STTCP_TOP/build/results/vm-$name timeout -k 20 "${STTCP_TEST_LIMIT:-900}" bash "tests/vm/$name.sh" </dev/null || code=$?
    [[ $code -eq 0 || $code -eq 4 ]] || status=1
    echo "# end $name $code $((SECONDS - began)) s"
done
exit "$status"
