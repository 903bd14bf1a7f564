#!/bin/bash
# Runs tests/suites/*.sh in one guest and prints their KTAP: suites that nobody here wrote, see scripts/suites.sh.
#   run-suites.sh [NAME...]
# NAME (or TESTS="NAME ...") picks tests/suites/NAME.sh. The kernel's log stays in build/results/suites.dmesg.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

STTCP_ARCHIVES="$("$STTCP_TOP/scripts/suites.sh") $("$STTCP_TOP/scripts/benchtools.sh")"
export STTCP_ARCHIVES
GROUP=suites exec "$STTCP_TOP/scripts/run-netns.sh" "$@"
