#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# How soon the backup has what the tap lost: a client speaks every 20 ms, so that nothing follows what is lost, and under `gated` its bytes are acknowledged when the
# backup has them. Without loss, with 20 % of the tap lost, and with 20 % of the peer channel lost as well. In a guest whose clock counts instructions. Prints a
# line of JSON for each. Fails if one is not acknowledged, or if, with the channel whole, one of ten lost ones is later than LATEST ms.

. "$(dirname "$0")/lib.sh"
ECHOES=${ECHOES:-1000}
# A timer tick of 5 ms, and a round trip between the hosts.
LATEST=5.5

# heard LOSS: the fields of the line.
heard() {
    local status=0
    rm -f "$WORK/waits"
    client python3 "$(dirname "$0")/acks.py" eth0 "$PORT" "$WORK/waits" &
    wait_until 10 test -e "$WORK/waits" || status=1
    client "$TRAFFIC" client echo --to "$(target 4)" --size 64 --count "$ECHOES" --think 20 --timeout 60 >"$WORK/result" 2>&1 || status=1
    pkill -TERM -f acks.py
    wait_until 10 test -s "$WORK/waits" || status=1
    [ $status -eq 0 ] || sed 's/^/# /' "$WORK/result" >&2
    sort -n "$WORK/waits" | awk '{ wait[NR] = $1; late += $1 > 2 } END {
        printf "\"waits\":%d,\"late\":%d,\"median_ms\":%.2f,\"late_median_ms\":%.2f,\"late_p90_ms\":%.2f,\"most_ms\":%.2f", NR, late, wait[int((NR + 1) / 2)],
            wait[NR - int(late / 2)], wait[NR - int(late / 10)], wait[NR] }'
    return $status
}

ktap_begin
up gated
settle || bail "the pair is not in step"
for case in none tap tap+channel; do
    status=0
    case $case in
    tap) tap loss 20% ;;
    tap+channel) tap_and_channel loss 20% ;;
    esac
    line=$(heard) || status=1
    mend
    [[ $line == "\"waits\":$ECHOES,"* ]] || status=1
    [ $case != tap ] || awk -v line="$line" -v most=$LATEST 'BEGIN { sub(/.*late_p90_ms":/, "", line); exit !(line + 0 <= most) }' || status=1
    echo "# {\"bench\":\"repairs\",\"loss\":\"$case\",$line}"
    result $status "loss: $case"
done
down
ktap_end
