# shellcheck shell=bash
# Counts results. Each function reads a log and prints "PASSED FAILED SKIPPED", then a line for each failure. Source it.

# tally_ktap LOG: scripts' output between lines "# begin NAME" and "# end NAME STATUS". A script that fails without
# saying which test, stops short of its plan, or never ends counts as one failure more; status 4 without results is a skip.
tally_ktap() {
    awk '
        function fail(what) { failed++; failures = failures name ": " what "\n" }
        function stopped() { if (open) fail("came to no end") }
        { sub(/\r$/, "") }
        $1 == "#" && $2 == "begin" { stopped(); name = $3; open = 1; seen = bad = plan = 0; planned = 0 }
        /^1\.\.[0-9]+/ { planned = 1; plan = substr($1, 4) + 0 }
        /^ok / { seen++; if (/# *SKIP/) skipped++; else passed++ }
        /^not ok / { seen++; if (/# *(SKIP|TODO|XFAIL)/) skipped++; else { fail($0); bad++ } }
        $1 == "#" && $2 == "end" {
            open = 0
            if ($4 == 4 && !seen) skipped++
            else if (!bad && ($4 != 0 || !seen || (planned && seen != plan)))
                fail("status " $4 ", " seen " results of " plan)
        }
        END { stopped(); print passed + 0, failed + 0, skipped + 0; printf "%s", failures }' "$1"
}

# tally_cargo LOG
tally_cargo() {
    awk '
        /^(test|fuzz) .*FAILED$/ { failures = failures $0 "\n" }
        /^test result: / {
            for (i = 1; i < NF; i++) {
                if ($(i + 1) == "passed;") passed += $i
                if ($(i + 1) == "failed;") failed += $i
                if ($(i + 1) == "ignored;") skipped += $i
            }
        }
        END { print passed + 0, failed + 0, skipped + 0; printf "%s", failures }' "$1"
}
