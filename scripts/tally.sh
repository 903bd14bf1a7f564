# shellcheck shell=bash
# Counts results. Each function reads a log and prints "PASSED FAILED SKIPPED". Source it.

# tally_ktap LOG: scripts' output between lines "# begin NAME" and "# end NAME STATUS". A script that fails without
# saying which test, stops short of its plan, or never ends counts as one failure more; status 4 without results is a skip.
tally_ktap() {
    awk '
        { sub(/\r$/, "") }
        $1 == "#" && $2 == "begin" { if (open) failed++; open = 1; seen = bad = plan = 0; planned = 0 }
        /^1\.\.[0-9]+/ { planned = 1; plan = substr($1, 4) + 0 }
        /^ok / { seen++; if (/# *SKIP/) skipped++; else passed++ }
        /^not ok / { seen++; if (/# *(SKIP|TODO|XFAIL)/) skipped++; else { failed++; bad++ } }
        $1 == "#" && $2 == "end" {
            open = 0
            if ($4 == 4 && !seen) skipped++
            else if (!bad && ($4 != 0 || !seen || (planned && seen != plan))) failed++
        }
        END { if (open) failed++; print passed + 0, failed + 0, skipped + 0 }' "$1"
}

# tally_cargo LOG
tally_cargo() {
    awk '
        /^test result: / {
            for (i = 1; i < NF; i++) {
                if ($(i + 1) == "passed;") passed += $i
                if ($(i + 1) == "failed;") failed += $i
                if ($(i + 1) == "ignored;") skipped += $i
            }
        }
        END { print passed + 0, failed + 0, skipped + 0 }' "$1"
}
