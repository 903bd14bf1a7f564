#!/bin/bash
# Compares the unsafe code with docs/unsafe.md.   unsafe.sh [write | prove]
# Fails on unsafe code outside the wrapper layer; on a block or implementation without a reason above it that begins with one of the
# rules, which are the headings of docs/unsafe.md; on a function that does not say what it asks for; and if the lists in docs/unsafe.md
# are not those of the code. `write` makes these lists anew; `prove` plants unsafe code of each such kind in a copy, and fails where it goes unseen.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# Of the checkout, or of a copy with something planted.
cd "${STTCP_AUDIT:-$STTCP_TOP}"

# strays: unsafe code where there must be none. The traffic tool is no part of the module, and has its own in one file.
strays() {
    ! grep -rnE --include='*.rs' '\bunsafe\b' src tests | grep -vE '^(src/sys/|tests/traffic/src/sock\.rs)' |
        grep -vE ':[0-9]+: *//|#!?\[.*\((.*\()?unsafe_code\)' ||
        { say "unsafe code outside src/sys, see above" && return 1; }
    # The compiler says so too: denied in the module but for `mod sys`, forbidden in the engine.
    if ! grep -q '^#!\[deny(unsafe_code)\]' src/main.rs || ! grep -q '^#!\[forbid(unsafe_code)\]' src/engine/mod.rs ||
        [[ $(grep -rhA1 'allow(.*unsafe_code' src) != $'#[allow(unsafe_code)]\nmod sys;' ]]; then
        say "unsafe_code must be denied in src/main.rs but for mod sys, and forbidden in src/engine/mod.rs" && return 1
    fi
}

# found: "RULE<tab>FILE<tab>PLACE" for each unsafe block, implementation and function of the wrapper layer; complains of those without a rule.
found() {
    awk '
        FNR == NR { if (sub(/^### /, "")) rule[$0] = 1; next }
        FNR == 1 { file = FILENAME; sub(/.*\//, "", file); reason = asked = inside = owner = "" }
        /^ *\/\// {
            if (match($0, /SAFETY: [^.]*\./)) { reason = substr($0, RSTART + 8, RLENGTH - 9); line = $0; sub(/.*SAFETY: */, "", line) }
            if (/# Safety/) asked = 1
            next
        }
        # What an implementation is asked for stands in the trait.
        /^(unsafe )?impl.* for / { inside = !/\{\}$/ }
        /^(unsafe )?impl/ { owner = type($0) "::" }
        /^}/ { inside = owner = "" }
        /(^| )fn [a-z]/ && match($0, /fn [a-z_0-9]+/) {
            place = owner substr($0, RSTART + 3, RLENGTH - 3)
            if (/unsafe (extern "C" )?fn/) {
                if (!asked && !inside) { complain("unsafe fn " place " has no section # Safety") }
                print "Unsafe functions\t" file "\t" place
            }
            asked = ""
        }
        {
            text = $0
            gsub(/unsafe (extern "C" )?fn/, "", text)
            while (match(text, /(^|[^a-z_])unsafe( impl[^{]*| *\{|$)/)) {
                where = place
                if (text ~ /^unsafe impl/ && match(text, /[A-Z][A-Za-z]* for [A-Z][A-Za-z]*/)) {
                    where = substr(text, RSTART, RLENGTH)
                    text = ""
                }
                if (!(reason in rule)) { complain("unsafe code whose reason begins with no rule of docs/unsafe.md: " (reason ? reason : "none")) }
                else print reason "\t" file "\t" where
                reason = ""
                text = substr(text, RSTART + RLENGTH)
            }
        }
        # The type that an implementation is for: the last word before its parameters.
        function type(text) {
            sub(/ *\{.*/, "", text)
            while (gsub(/<[^<>]*>/, "", text)) continue
            sub(/.* /, "", text)
            return text
        }
        function complain(what) { print FILENAME ":" FNR ": " what >"/dev/stderr"; failed = 1 }
        END { exit failed }' docs/unsafe.md src/sys/*.rs
}

# document: docs/unsafe.md with the lists that belong there, each at the end of its section.
document() {
    awk -F '\t' '
        FNR == NR {
            key = $1 "\t" $2
            if (!(key in places)) files[$1] = files[$1] "\t" $2
            if (!((key, $3) in count)) places[key] = places[key] "\t" $3
            count[key, $3]++
            total[$1]++
            next
        }
        function list(   file, place, n, m, i, j, line) {
            n = split(files[section], file, "\t")
            for (i = 2; i <= n; i++) {
                line = "- `" file[i] "`:"
                m = split(places[section "\t" file[i]], place, "\t")
                for (j = 2; j <= m; j++) {
                    line = line (j > 2 ? ", `" : " `") place[j] "`"
                    if (count[section "\t" file[i], place[j]] > 1) line = line " (" count[section "\t" file[i], place[j]] ")"
                }
                print line
            }
            if (n) print ""
        }
        /^- `[a-z_]+\.rs`: / { next }
        /^#/ { list(); section = "" }
        /^### / { section = substr($0, 5) }
        !(/^$/ && blank) { print }
        { blank = /^$/ }
        END { list() }' <(found) docs/unsafe.md | cat -s | sed -e :end -e '/^\n*$/{$d;N;b end' -e '}'
}

# prove: that the check fails on what it is there for.
prove() {
    local block='unsafe { core::hint::unreachable_unchecked() }' failed=0
    copy=$(mktemp -d)
    trap 'rm -r "$copy"' EXIT
    cp -r src tests docs "$copy"
    STTCP_AUDIT=$copy "$0" || die "the copy does not pass as it is"
    planted 'unsafe code outside src/sys' src/peer.rs "fn planted() { $block }"
    planted 'unsafe code outside src/sys' src/engine/seq.rs "fn planted() { $block }"
    planted 'must be denied' src/node.rs '#[allow(unsafe_code)]'
    planted 'begins with no rule .*: none' src/sys/clock.rs "fn planted() { $block }"
    planted 'begins with no rule .*: Trust me' src/sys/clock.rs "fn planted() {" '// SAFETY: Trust me.' "$block" '}'
    planted 'begins with no rule .*: none' src/sys/clock.rs 'unsafe impl Send for Planted {}'
    planted 'no section # Safety' src/sys/clock.rs 'unsafe fn planted() {}'
    planted 'lists other unsafe code' src/sys/clock.rs "fn planted() {" '// SAFETY: No requirement.' "$block" '}'
    [[ $failed -eq 0 ]]
}

# planted COMPLAINT FILE LINE...: with the lines at its end, the check complains so.
planted() {
    local complaint=$1 file=$2 said
    shift 2
    printf '%s\n' "$@" >>"$copy/$file"
    if said=$(STTCP_AUDIT=$copy "$0" 2>&1) || ! grep -q "$complaint" <<<"$said"; then
        say "planted in $file and not seen ($complaint): $*"
        failed=1
    fi
    cp "$file" "$copy/$file"
}

case ${1-} in
"")
    strays
    found >/dev/null
    diff -u docs/unsafe.md <(document) || die "docs/unsafe.md lists other unsafe code than there is: scripts/unsafe.sh write"
    ;;
write)
    strays
    found >/dev/null
    document >docs/unsafe.md.new
    mv docs/unsafe.md.new docs/unsafe.md
    ;;
prove) prove ;;
*) die "usage: unsafe.sh [write | prove]" ;;
esac
