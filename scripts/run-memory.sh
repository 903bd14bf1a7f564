#!/bin/bash
# Runs tests/netns/memory.sh, which has a guest to itself, and prints its KTAP: see run-netns.sh. The kernel's log stays in build/results/netns-memory.dmesg.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

exec "$STTCP_TOP/scripts/run-netns.sh" memory
