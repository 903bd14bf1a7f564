#!/bin/bash
# Runs tests/netns/*.sh on the debug kernel, in smaller numbers, and prints their KTAP.   run-debug.sh [NAME...]
# Fails if a checker of the kernel reports anything. Without names (or TESTS="NAME ...") a core selection; "all" is all.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

names=${*:-${TESTS:-control ends}}
[[ $names != all ]] || names=''
# Emulated, everything takes two to eight times as long as on the stock kernel.
export STTCP_FLAVOUR=debug SLOW=${SLOW:-4} TAKEOVERS=${TAKEOVERS:-10} LOADS=${LOADS:-5} ROUNDS=${ROUNDS:-2} FORGED=${FORGED:-1000} HOSTILE=${HOSTILE:-10000} ENDS=${ENDS:-400} STTCP_MEMORY=${STTCP_MEMORY:-4096}
export STTCP_TIMEOUT=${STTCP_TIMEOUT:-7200}
TESTS=$names exec "$STTCP_TOP/scripts/run-netns.sh"
