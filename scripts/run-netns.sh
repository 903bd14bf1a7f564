#!/bin/bash
# Runs tests/netns/*.sh one after the other in one guest and prints their KTAP.   run-netns.sh [NAME...]
# NAME (or TESTS="NAME ...") picks tests/netns/NAME.sh. The kernel's log stays in build/results/netns.dmesg.
# STTCP_FLAVOUR and PLANT are as of module.sh, and names the log too, like netns-debug.dmesg.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
read -ra names <<<"${*:-${TESTS-}}"
if [[ ${#names[@]} -eq 0 ]]; then
    mapfile -t names < <(cd tests/netns && for file in *.sh; do [[ $file == lib.sh ]] || echo "${file%.sh}"; done)
fi
for name in "${names[@]}"; do
    [[ -f tests/netns/$name.sh ]] || die "no test tests/netns/$name.sh"
done
scripts/module.sh
scripts/traffic.sh
mkdir -p build/results
share=$(mktemp -d)
trap 'rm -rf "$share"' EXIT
mkdir "$share/tests"
cp -r tests/netns "$share/tests/"
flavour=${STTCP_FLAVOUR:+-$STTCP_FLAVOUR}${PLANT:+-$PLANT}
cp "build/module$flavour/sttcp.ko" build/sttcp-traffic tests/guest/netns-job "$share/"
printf '%s\n' "${names[@]}" >"$share/names"
# What tests can be told from outside.
for name in TAKEOVERS SEED INTERVAL LOADS SLOW STTCP_TEST_LIMIT; do
    [[ -z ${!name-} ]] || printf 'export %s=%q\n' "$name" "${!name}"
done >"$share/env"
say "booting a guest for: ${names[*]} ..."
scripts/guest.sh -m "${STTCP_MEMORY:-3072}" -c "${STTCP_CPUS:-2}" -t "${STTCP_TIMEOUT:-3600}" -l "build/results/netns$flavour.dmesg" \
    -a "${STTCP_APPEND-}" "$share" netns-job
