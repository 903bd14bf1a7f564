#!/bin/bash
# Runs tests/netns/*.sh one after the other in one guest and prints their KTAP.   run-netns.sh [NAME...]
# NAME (or TESTS="NAME ...") picks tests/netns/NAME.sh. The kernel's log stays in build/results/netns.dmesg.
# GROUP=suites runs tests/suites/*.sh instead, for run-suites.sh.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
GROUP=${GROUP:-netns}
names=$(pick "tests/$GROUP" "$@")
scripts/module.sh
scripts/traffic.sh
mkdir -p build/results
share=$(mktemp -d)
trap 'rm -rf "$share"' EXIT
mkdir "$share/tests"
cp -r tests/netns tests/suites tests/ktap.sh "$share/tests/"
cp sttcp.ko build/sttcp-traffic tests/guest/netns-job "$share/"
if grep -qx memory <<<"$names"; then
    OUT=build/faults FAULTS=1 scripts/module.sh
    cp build/faults/sttcp.ko "$share/sttcp-faults.ko"
fi
printf '%s\n' "$names" >"$share/names"
# What tests can be told from outside.
for name in GROUP STTCP_TEST_LIMIT ONLY TAKEOVERS SEED INTERVAL LOADS LIMIT; do
    [[ -z ${!name-} ]] || printf 'export %s=%q\n' "$name" "${!name}"
done >"$share/env"
say "booting a guest for: ${names//$'\n'/ } ..."
scripts/guest.sh -m "${STTCP_MEMORY:-3072}" -c "${STTCP_CPUS:-2}" -t "${STTCP_TIMEOUT:-3600}" -l "build/results/$GROUP.dmesg" \
    -a "${STTCP_APPEND-}" "$share" netns-job
