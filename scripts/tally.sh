# shellcheck shell=bash
# Counts results. Each function reads a log and prints "PASSED FAILED SKIPPED", then a line for each failure. Source it.

# tally_ktap LOG: scripts' output between lines "# begin NAME" and "# end NAME STATUS". A script that fails without
# saying which test, stops short of its plan, or never ends counts as one failure more; status 4 without results is a skip.
# What follows "#! " explains the failure before it.
tally_ktap() {
    awk '
        function fail(what) { failed++; failures = failures name ": " what "\n" }
        function mark() { marked[1] = passed; marked[2] = skipped; marked[3] = failed; marked[4] = failures }
        function stopped() { if (open) fail("came to no end") }
        { sub(/\r$/, "") }
        # Why it failed, as the test sees it.
        $1 == "#!" { failures = failures "    " substr($0, 4) "\n" }
        $1 == "#" && $2 == "begin" { stopped(); name = $3; open = 1; seen = bad = plan = 0; planned = 0; mark() }
        # The emulator killed its guest, and it is run again: nothing of it counts so far.
        $1 == "#" && $2 == "again" { passed = marked[1]; skipped = marked[2]; failed = marked[3]; failures = marked[4]; open = 0 }
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
