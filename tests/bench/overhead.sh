#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What protection costs while nothing fails, in instructions. Prints a line of JSON for each mode and load.

. "$(dirname "$0")/lib.sh"

# measure LOAD AMOUNT: what one costs, from two amounts, so that all that is there once cancels out.
measure() {
    local load=$1 few=$2 many=$((3 * $2)) points=()
    run "$load" "$few" || return 1
    points+=("$(spent)")
    run "$load" "$few" || return 1
    points+=("$(spent)")
    run "$load" "$many" || return 1
    points+=("$(spent)")
    awk -v few="$few" -v a="${points[0]}" -v b="${points[1]}" -v c="${points[2]}" '
        BEGIN {
            split(a, at); split(b, bt); split(c, ct)
            for (i = 1; i <= 3; i++) cost[i] = ((ct[i] - bt[i]) - (bt[i] - at[i])) / (2 * few)
            printf "%.0f %.0f %.0f\n", cost[1], cost[2], cost[3]
        }'
}

ktap_begin
for mode in ${MODES:-plain off alone gated eager gated-digest}; do
    status=0
    up "$mode" || status=1
    for load in echo download upload connection; do
        if cost=$(measure $load "$(amount $load)"); then
            read -r total primary backup <<<"$cost"
            echo "# {\"bench\":\"overhead\",\"mode\":\"$mode\",\"load\":\"$load\",\"instructions\":$total,\"primary\":$primary,\"backup\":$backup}"
        else
            status=1
            echo "# $cost"
        fi
    done
    down
    result $status "$mode is measured"
done
ktap_end
