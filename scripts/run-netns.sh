#!/bin/bash
# Runs tests/netns/*.sh one after the other in one guest and prints their KTAP.   run-netns.sh [NAME...]
# NAME (or TESTS="NAME ...") picks tests/netns/NAME.sh. The kernel's log stays in build/results/netns.dmesg.
# STTCP_FLAVOUR and PLANT are as of module.sh, and name the log too: netns-debug.dmesg, netns-debug-leak.dmesg.
# SLOW=N multiplies every interval and every patience of the tests, for kernels that are slow.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
names=$(pick tests/netns "$@")
flavour=${STTCP_FLAVOUR:+-$STTCP_FLAVOUR}${PLANT:+-$PLANT}
scripts/module.sh
scripts/traffic.sh
mkdir -p build/results
share=$(mktemp -d)
trap 'rm -rf "$share"' EXIT
mkdir "$share/tests"
cp -r tests/netns tests/ktap.sh "$share/tests/"
cp "build/module$flavour/sttcp.ko" build/sttcp-traffic tests/guest/netns-job "$share/"
if grep -qx memory <<<"$names"; then
    OUT=build/faults$flavour FAULTS=1 scripts/module.sh
    cp "build/faults$flavour/sttcp.ko" "$share/sttcp-faults.ko"
fi
printf '%s\n' "$names" >"$share/names"
# What tests can be told from outside.
for name in TAKEOVERS SEED INTERVAL LOADS HOSTILE ENDS STRESS SLOW STTCP_TEST_LIMIT; do
    [[ -z ${!name-} ]] || printf 'export %s=%q\n' "$name" "${!name}"
done >"$share/env"
say "booting a guest for: ${names//$'\n'/ } ..."
scripts/guest.sh -m "${STTCP_MEMORY:-3072}" -c "${STTCP_CPUS:-2}" -t "${STTCP_TIMEOUT:-3600}" -l "build/results/netns$flavour.dmesg" \
    -a "${STTCP_APPEND-}" "$share" netns-job
