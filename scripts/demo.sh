#!/bin/bash
# A takeover to look at:   demo.sh
# Client, primary and backup as three guests (drawn in segment.sh); an unmodified redis-server on both servers. In the
# middle of a Redis session and of a download of 64 MB the primary's QEMU is killed. Fails unless every reply and every
# byte was right.
set -euo pipefail
. "$(dirname "$0")/segment.sh"
. "$STTCP_TOP/tests/vm/lib.sh"

BYTES=$((64 << 20))

# kernel_saw NAME: "TIME NAME TEXT" for each line of the module, TIME being the host's.
kernel_saw() {
    tr -d '\r' <"$SEGMENT/$1/console" | grep -av 'sttcp: .* taint' | sed -nE 's/^\[ *([0-9.]+)\] sttcp: (.*)/\1 \2/p' |
        awk -v name="$1" -v behind="${log_behind[$1]}" '{ at = $1; sub(/^[^ ]+ /, ""); printf "%.6f %s %s\n", at + behind, name, $0 }'
}

# client_saw TALK TEXT: the pause of a client as two lines.
client_saw() {
    awk -v began="$(pause_began "$1")" -v ms="$(pause "$1")" -v behind="$real_behind" -v text="$2" 'BEGIN {
        began = began / 1000 + behind
        printf "%.6f client %s: the last bytes before the pause\n", began, text
        printf "%.6f client %s: goes on after %.0f ms\n", began + ms / 1000, text, ms }'
}

say "booting client, primary and backup ..."
for name in client primary backup; do boot_guest "$name"; done
ready client primary backup
say "loading sttcp.ko and starting redis-server on primary and backup ..."
client_up
serve primary primary &
serve backup backup
wait $! || die "the primary does not serve: $(tail -3 "$SEGMENT/primary/console")"
in_step || die "the pair does not get in step: primary $(state primary), backup $(state backup)"
say "in step: primary $(state primary), backup $(state backup)"

declare -A log_behind
for name in primary backup client; do
    read -r real_behind log_behind["$name"] < <(align "$name")
done

say "Redis session and download of $((BYTES >> 20)) MB begin ..."
talk redis redis --to "$VIP:6379" --think 5
talking redis || die "no Redis session: $(cat "$WORK/redis.json")"
half=$(($(delivered) + BYTES / 2))
talk download client get --to "$VIP:7000" --bytes "$BYTES" --size 1M
began=$EPOCHREALTIME
wait_until 60 has_delivered "$half" || die "the download stands still at $(delivered) bytes; primary $(state primary), backup $(state backup)"
killed=$EPOCHREALTIME
kill_guest primary
say "half of it is through: primary's QEMU killed"

failed=0
heard download || failed=1
sleep 0.5
hush redis
heard redis || failed=1
say "both are through"
scan client primary backup || failed=1
[[ $(field redis passed) == true && $(field download bytes_received) == "$BYTES" ]] || failed=1
has_state backup solo || failed=1

echo
echo "Timeline, in seconds from the moment the primary's QEMU got SIGKILL:"
echo
{
    kernel_saw primary
    kernel_saw backup
    client_saw redis "Redis session"
    client_saw download "download"
    echo "$began client download of $((BYTES >> 20)) MB begins, the Redis session goes on beside it"
    echo "$killed host SIGKILL to primary's QEMU"
} | sort -n | awk -v zero="$killed" '{ at = $1; name = $2; sub(/^[^ ]+ [^ ]+ /, ""); printf "%+9.3f  %-8s %s\n", at - zero, name, $0 }'

silence=$(logged backup 'taking over' | sed -nE 's/.*silent for ([0-9]+) ms.*/\1/p')
echo
printf 'Detection      %s ms without a heartbeat (interval %s ms, 3 misses)\n' "$silence" "$INTERVAL"
printf 'Redis session  %s transactions, INCR in order, every reply checked; %s failed; longest pause %.0f ms\n' \
    "$(field redis transactions)" "$(field redis failed)" "$(pause redis)"
printf 'Download       %s bytes, every byte checked; %s failed; longest pause %.0f ms\n' \
    "$(field download bytes_received)" "$(field download failed)" "$(pause download)"
printf 'Backup         %s, epoch %s, %s held segments sent at takeover\n\n' \
    "$(state backup)" "$(on backup 'cat /proc/sys/net/sttcp/epoch')" "$(counter backup held_flushed)"
if [[ $failed -ne 0 ]]; then
    cat "$WORK"/*.json >&2
    echo "FAILED: something above is not as it should be"
    exit 1
fi
echo "The primary died, and no connection noticed."
