#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The backup dies and comes back. The primary goes on alone, and protects what opens after the backup's return.
#
#     client 10.0.0.10 ──┐
#     primary 10.0.0.1 ──┼── a bridge that floods        service 10.0.0.100 on both servers
#     backup 10.0.0.2 ───┘
#
# Three guests, see scripts/segment.sh and lib.sh.

set -euo pipefail
. "$(dirname "$0")/../../scripts/segment.sh"
. "$STTCP_TOP/tests/vm/lib.sh"

# check TEXT COMMAND...
check() {
    local text=$1 status=0
    shift
    "$@" || status=1
    result "$status" "$text"
}

# connections NAME STATE: how many of the service's connections are in it there.
connections() { on "$1" "awk '\$3 == \"$2\"' /proc/net/sttcp | wc -l"; }
has_connections() { [[ $(connections "$1" "$2") -eq $3 ]]; }

ktap_begin
pair_up || bail "the pair does not come up"

talk echo client echo --to "$VIP:7000" --think 5
talking echo || bail "no echo"
talk upload client put --to "$VIP:7000" --think 5
talking upload || bail "no upload"
check "two connections are protected" wait_until 10 has_connections primary protected 2
check "the backup has their shadows" wait_until 10 has_connections backup shadow 2

kill_guest backup
check "the backup is killed: the primary is solo" wait_until 20 has_state primary solo
check "its connections are unprotected" wait_until 10 has_connections primary unprotected 2
begin=$(delivered)
check "and go on" wait_until 20 has_delivered $((begin + 20000))
echo "# $(logged primary 'silent for')"

reboot || bail "the backup does not come back"
talk late client echo --to "$VIP:7000" --think 5
talking late || bail "no second echo"
check "the backup is back: a new connection is protected" wait_until 10 has_connections primary protected 1
check "the old ones stay unprotected" has_connections primary unprotected 2
hush upload
check "the upload was right" heard upload
hush echo
check "the echo was right" heard echo

kill_guest primary
check "the primary is killed: the backup takes over" wait_until 20 has_state backup solo
begin=$(delivered)
check "the new connection goes on" wait_until 20 has_delivered $((begin + 2000))
hush late
check "and was right" heard late
check "no kernel complained" scan client primary backup
ktap_end
