#!/bin/bash
# Measures, in guests, and prints tables.   bench.sh [NAME...]
#   overhead   what protection costs while nothing fails, in instructions (2 min)
#   paired     the same as latency and throughput, in turn with plain TCP
#   scale      the same as overhead beside many idle connections
#   pauses     how long a client waits at a takeover, by heartbeat interval, and at a switchover
#   repairs    how soon the backup has what the tap lost
#   rivals     a Redis session whose server's host dies, here and with what people use today
#   profile    where the primary's instructions go, by function
# Without a name it is overhead. Lines of JSON stay in build/results/NAME.jsonl; STTCP_RECORD=1 puts them and the table into docs/results.
# MODES="plain gated ..." picks modes of overhead, scale and profile; ECHOES, MEGABYTES and CONNECTIONS are amounts, COUNTS numbers of idle connections,
# ROUNDS those of paired and rivals, NETWORKS which of paired; RUNS how often overhead and each pause is measured, INTERVALS and KINDS which pauses.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$STTCP_TOP/scripts/machine.sh"

cd "$STTCP_TOP"
results=build/results
mkdir -p "$results"
kernel=$("$STTCP_TOP/scripts/kernel.sh")
host=$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)

# run NAME [MORE]: its guest, and what it says as lines of JSON, each with the accelerator and MORE of it.
run() {
    machine_ready
    GROUP=bench scripts/run-netns.sh "$1" | tee "$results/$1.log"
    sed -n 's/^# {/{/p' "$results/$1.log" |
        sed "s|}$|,\"kernel\":\"$(<"$kernel/release")\",\"cpu\":\"$host\",\"accelerator\":\"$STTCP_ACCEL${2-}\"}|" >"$results/$1.jsonl"
}
# counted NAME: in a guest with one CPU whose clock counts instructions, so that the host's other work is of no matter.
counted() {
    STTCP_ICOUNT=1 STTCP_ACCEL=tcg STTCP_CPUS=1 STTCP_TIMEOUT=7200 STTCP_TEST_LIMIT=7000 run "$1" ", icount"
}

overhead() { counted overhead; }
paired() { run paired; }
scale() { STTCP_MEMORY=${STTCP_MEMORY:-8192} counted scale; }
pauses() { counted pauses; }
repairs() { counted repairs; }
rivals() { STTCP_ARCHIVES=$(scripts/benchtools.sh) run rivals; }
profile() { STTCP_ARCHIVES=$(scripts/benchtools.sh) counted profile; }

# fields: awk's part that reads a line of JSON.
fields='{ gsub(/[{}"]/, ""); count = split($0, parts, / *, */); delete field
          for (i = 1; i <= count; i++) { at = index(parts[i], ":"); field[substr(parts[i], 1, at - 1)] = substr(parts[i], at + 1) + 0 == 0 ? substr(parts[i], at + 1) : substr(parts[i], at + 1) + 0 } }'

# Medians of the runs. "plain" comes first.
overhead_table() {
    awk "$awk_median $fields"'
        function ratio(cost, base) { return base > 0 ? sprintf("%d (%+.1f %%)", cost, 100 * (cost / base - 1)) : cost }
        function middle(what, load, mode) { return median(runs[what, load, mode], "%.0f") }
        {
            load = field["load"]; mode = field["mode"]
            if (!(load in load_seen)) { load_seen[load] = 1; loads[++load_count] = load }
            if (!(mode in mode_seen)) { mode_seen[mode] = 1; modes[++mode_count] = mode }
            for (what in field) runs[what, load, mode] = runs[what, load, mode] " " field[what]
        }
        END {
            print "| for each | mode | all hosts | primary | backup |\n| --- | --- | ---: | ---: | ---: |"
            for (i = 1; i <= load_count; i++) for (j = 1; j <= mode_count; j++) {
                load = loads[i]; mode = modes[j]
                printf "| %s | %s | %s | %s | %d |\n", load, mode, ratio(middle("instructions", load, mode), middle("instructions", load, "plain")),
                    ratio(middle("primary", load, mode), middle("primary", load, "plain")), mode ~ /plain|off|alone/ ? 0 : middle("backup", load, mode)
            }
        }' "$results/overhead.jsonl"
}

# Of each run of a mode to the run of "plain" in its round.
paired_table() {
    awk "$awk_median $fields"'
        {
            load = field["load"]; mode = field["mode"]; row = field["network"] SUBSEP load SUBSEP mode
            if (!(row in times)) order[++rows] = row
            times[row]++; costs[row] = costs[row] " " field["us"]
            if (mode == "plain") plain[field["network"], load, field["round"]] = field["us"]
            ratios[row] = ratios[row] " " 100 * field["us"] / plain[field["network"], load, field["round"]]
        }
        END {
            print "| network | for each | mode | rounds | time, us | of that of plain TCP, % |\n| --- | --- | --- | ---: | ---: | ---: |"
            for (at = 1; at <= rows; at++) {
                it = order[at]; split(it, part, SUBSEP)
                printf "| %s | %s | %s | %d | %s | %s |\n", part[1], part[2], part[3], times[it], median(costs[it]), median(ratios[it], "%.1f (%.1f to %.1f)")
            }
        }' "$results/paired.jsonl"
}

scale_table() {
    awk "$fields"'
        BEGIN {
            print "| mode | idle connections | echo, primary | echo, backup | MB down, primary | a connection, primary | kernel memory for each | of it the module, on each host | takeover to the last announcement, ms | first byte of each that waits, ms |"
            print "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        }
        {
            printf "| %s | %d | %d | %d | %d | %d | %d |", field["mode"], field["connections"], field["echo_primary"], field["mode"] == "plain" ? 0 : field["echo_backup"],
                field["download_primary"], field["connection_primary"], field["slab_bytes_each"]
            if ("takeover_us" in field) printf " %d | %.1f | %d: %.1f to %.1f, half of them by %.1f, 99 of 100 by %.1f |\n", field["object_bytes"], field["takeover_us"] / 1000,
                field["waiting"], field["first_byte_ms"], field["last_first_byte_ms"], field["median_first_byte_ms"], field["ninety_nine_first_byte_ms"]
            else print " 0 | | |"
        }' "$results/scale.jsonl"
}

pauses_table() {
    awk "$awk_median $fields"'
        {
            row = field["how"] SUBSEP field["interval"] SUBSEP field["traffic"]
            if (!(row in times)) order[++rows] = row
            times[row]++
            detection = field["detection_us"] / 1000; pause = field["pause_ms"]
            detections[row] = detections[row] " " detection; pauses[row] = pauses[row] " " pause; excesses[row] = excesses[row] " " pause - detection
            if (!(row in most) || pause - detection > most[row]) most[row] = pause - detection
        }
        END {
            print "| what happens | interval | times | detection | traffic | pause | pause beyond detection | at most |\n| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |"
            for (at = 1; at <= rows; at++) {
                it = order[at]; split(it, part, SUBSEP)
                printf "| %s | %s | %d | %s | %s | %s | %s | %.1f |\n", part[1], part[2], times[it], median(detections[it], "%.1f"), part[3], median(pauses[it], "%.1f"), median(excesses[it], "%.1f"), most[it]
            }
        }' "$results/pauses.jsonl"
}

repairs_table() {
    awk "$fields"'
        BEGIN { print "| lost | acknowledgements | median, ms | later than 2 ms | their median | 90 of 100 of them | latest |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |" }
        { printf "| %s | %d | %.2f | %d | %.2f | %.2f | %.2f |\n", field["loss"], field["waits"], field["median_ms"], field["late"], field["late_median_ms"], field["late_p90_ms"], field["most_ms"] }' "$results/repairs.jsonl"
}

rivals_table() {
    awk "$awk_median $fields"'
        {
            setup = field["setup"]
            if (!(setup in times)) order[++rows] = setup
            times[setup]++; kept[setup] += field["sessions"] == 1; failed[setup] += field["failed"]; lost[setup] += field["lost"]; gaps[setup] = gaps[setup] " " field["gap_ms"]
        }
        END {
            print "| set-up | times | session survives | requests failed | answers lost | pause, ms |\n| --- | ---: | ---: | ---: | ---: | ---: |"
            for (row = 1; row <= rows; row++) { it = order[row]; printf "| %s | %d | %d | %d | %d | %s |\n", it, times[it], kept[it], failed[it], lost[it], median(gaps[it]) }
        }' "$results/rivals.jsonl"
}

# A row for each function that takes so many instructions of the first mode or of the last, and one for the module as a whole.
profile_table() {
    scripts/chroot.sh c++filt <"$results/profile.log" | awk -v least="${LEAST:-150}" '
        function row(name,    line, at) {
            line = "| " name " |"
            for (at = 1; at <= modes; at++) line = line " " spent[mode[at], name] + 0 " |"
            return line
        }
        $2 == "profile" {
            key = $3 ", " $4
            if (!(key in known)) { known[key] = 1; mode[++modes] = key }
            name = $6
            for (at = 7; at <= NF; at++) name = name " " $at
            ours = name ~ /main::|main\[/
            gsub(/\[[0-9a-f]+\]/, "", name)
            name = "`" name "`"
            if (!(name in seen)) { seen[name] = 1; names[++count] = name }
            spent[key, name] += $5; spent[key, "all that was seen"] += $5
            if (ours) spent[key, "the module"] += $5
        }
        END {
            head = "| function |"; line = "| --- |"
            for (at = 1; at <= modes; at++) { head = head " " mode[at] " |"; line = line " ---: |" }
            print "9e9\t" head "\n9e9\t" line "\n9e9\t" row("all that was seen") "\n9e9\t" row("the module")
            for (at = 1; at <= count; at++) {
                most = 0
                for (to = 1; to <= modes; to++) if (spent[mode[to], names[at]] > most) most = spent[mode[to], names[at]]
                if (most >= least) print most "\t" row(names[at])
            }
        }' | sort -s -t "$(printf '\t')" -k 1,1 -g -r | sed 's/^[0-9e]*\t//'
}

[[ $# -gt 0 ]] || set -- overhead
for name; do
    "$name"
    "${name}_table" >"$results/$name.table"
    cat "$results/$name.table"
    if [[ ${STTCP_RECORD-} == 1 && -e docs/results/$name.md ]]; then
        [[ ! -s $results/$name.jsonl ]] || cp "$results/$name.jsonl" "docs/results/$name.jsonl"
        put_table "docs/results/$name.md" "$results/$name.table"
        [[ ! -e docs/results/$name.svg ]] || python3 scripts/plot.py "docs/results/$name.md" "docs/results/$name.svg"
    fi
done
