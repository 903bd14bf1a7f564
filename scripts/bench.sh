#!/bin/bash
# Measures, in guests, and prints a table: what protection costs while nothing fails.   bench.sh
# Lines of JSON stay in build/results/overhead.jsonl; STTCP_RECORD=1 puts them and the table into docs/results.
# MODES="plain gated ..." picks modes of tests/bench/overhead.sh; ECHOES, MEGABYTES and CONNECTIONS are amounts.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
results=build/results
mkdir -p "$results"
kernel=$("$STTCP_TOP/scripts/kernel.sh")
host=$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)

# overhead: in a guest with one CPU whose clock counts instructions, so that the host's other work is of no matter.
overhead() {
    STTCP_ICOUNT=1 STTCP_ACCEL=tcg STTCP_CPUS=1 STTCP_TIMEOUT=1200 GROUP=bench scripts/run-netns.sh overhead | tee "$results/overhead.log"
    sed -n 's/^# {/{/p' "$results/overhead.log" |
        sed "s|}$|,\"kernel\":\"$(<"$kernel/release")\",\"cpu\":\"$host\",\"accelerator\":\"tcg, icount\"}|" >"$results/overhead.jsonl"
}

# table: of overhead's lines.
table() {
    awk -F '[":,{}]+' '
        function ratio(cost, base) { return base > 0 ? sprintf("%d (%+.1f %%)", cost, 100 * (cost / base - 1)) : cost }
        {
            for (i = 2; i < NF; i += 2) field[$i] = $(i + 1)
            load = field["load"]; mode = field["mode"]
            if (mode == "plain") { plain[load] = field["instructions"]; primary[load] = field["primary"] }
            if (!(load in seen)) { seen[load] = 1; loads[++count] = load }
            line[load] = line[load] sprintf("| %s | %s | %s | %s | %d |\n", load, mode, ratio(field["instructions"], plain[load]),
                ratio(field["primary"], primary[load]), field["backup"] > 0 && mode !~ /plain|off|alone/ ? field["backup"] : 0)
        }
        END {
            print "| for each | mode | all hosts | primary | backup |\n| --- | --- | ---: | ---: | ---: |"
            for (i = 1; i <= count; i++) printf "%s", line[loads[i]]
        }' "$results/overhead.jsonl"
}

overhead
table >"$results/overhead.table"
cat "$results/overhead.table"
if [[ ${STTCP_RECORD-} == 1 ]]; then
    cp "$results/overhead.jsonl" docs/results/overhead.jsonl
    put_table docs/results/overhead.md "$results/overhead.table"
fi
