#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Where the primary's instructions go, by function: perf looks each so many of them. Prints "# profile MODE LOAD INSTRUCTIONS FUNCTION", the instructions
# for one transaction of the load. It is what perf sees: where interrupts are off it looks a little later.

. "$(dirname "$0")/lib.sh"

# Several, so that none keeps step with the load.
PERIODS=(20011 27011 34019)

# look MODE LOAD AMOUNT
look() {
    local period
    : >"$WORK/samples"
    for period in "${PERIODS[@]}"; do
        run "$2" "$3" perf record -q -a -e cpu-clock -c "$period" -m 8M -o "$WORK/perf" || return 1
        perf script -i "$WORK/perf" --pid "${server[primary]},${napi[primary]}" -F ip,sym 2>/dev/null |
            sed "s/^ */$period /" >>"$WORK/samples"
    done
    awk -v head="# profile $1 $2" -v amount="$((${#PERIODS[@]} * $3))" '
        NF > 1 { period = $1; $1 = $2 = ""; spent[$0] += period }
        END { for (name in spent) printf "%s %d%s\n", head, spent[name] / amount, name }' "$WORK/samples" | sort -k5 -n -r | head -"${TOP:-60}"
}

# perf leaves nothing out for the sake of speed.
echo 1000000 >/proc/sys/kernel/perf_event_max_sample_rate
echo 0 >/proc/sys/kernel/perf_cpu_time_max_percent
ktap_begin
for mode in ${MODES:-gated}; do
    up "$mode"
    run echo 10
    for load in ${LOADS:-echo}; do
        look "$mode" "$load" "$((2 * $(amount "$load")))"
        result $? "$mode, $load is looked at"
    done
    down
done
ktap_end
