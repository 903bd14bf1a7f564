#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What protection costs while nothing fails, in instructions. Prints a line of JSON for each mode and load.

. "$(dirname "$0")/lib.sh"

ktap_begin
for ((run = 1; run <= ${RUNS:-1}; run++)); do
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
        case $mode in
        plain | off | alone) ;;
        *) stayed_protected || status=1 ;;
        esac
        down
        result $status "$mode is measured"
    done
done
ktap_end
