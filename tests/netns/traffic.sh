#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Every pattern of traffic, without failure and with the primary cut off at a random moment, over IPv4 and IPv6.
# Topology: see lib.sh.

. "$(dirname "$0")/lib.sh"
begin
PARALLEL=$((200 / SLOW))

for version in 4 6; do
    to=$(target $version)
    greet=$(target $version $GREET)
    goes "IPv$version echo" client echo --to "$to" --count 100
    goes "IPv$version interactive" client ask --to "$to" --count 50
    goes "IPv$version bulk download" client get --to "$to" --bytes 16M
    goes "IPv$version upload" client put --to "$to" --bytes 4M
    goes "IPv$version server speaks first" client greet --to "$greet" --count 20
    goes "IPv$version many small connections" client churn --to "$to" --connections 4 --count 50
    goes "IPv$version $PARALLEL parallel connections" client echo --to "$to" --connections $PARALLEL --count 5
    survives "IPv$version echo over a takeover" client echo --to "$to"
    survives "IPv$version interactive over a takeover" client ask --to "$to" --think 5
    survives "IPv$version bulk download over a takeover" client get --to "$to" --size 4M
    survives "IPv$version upload over a takeover" client put --to "$to" --size 1M
    survives "IPv$version server speaks first, over a takeover" client greet --to "$greet"
    # A connection whose primary dies between the handshake and the word of it to the backup is lost: see the README's limits.
    survives "IPv$version many small connections over a takeover" client churn --to "$to" --connections 2 --tolerate connect,early
    survives "IPv$version $PARALLEL parallel connections over a takeover" client echo --to "$to" --connections $PARALLEL --think 500
done
ktap_end
