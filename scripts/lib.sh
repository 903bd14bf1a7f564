# shellcheck shell=bash
# What every script here shares: messages, tests by name, the cache, host packages, Debian's mirror.
# Source it after `set -euo pipefail`.

# A failure inside "$(...)" must count as well.
shopt -s inherit_errexit

STTCP_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
STTCP_CACHE=${STTCP_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/sttcp}
# Debian's suite: guests, checks and Cargo are always of Debian 13. STTCP_SUITE=forky (testing) or sid (unstable) takes the
# kernel, and with it the tools that compile for it, from there.
STTCP_STABLE=trixie
STTCP_SUITE=${STTCP_SUITE:-$STTCP_STABLE}
STTCP_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
: "${STTCP_T0:=$EPOCHSECONDS}"
export STTCP_T0 STTCP_TOP STTCP_CACHE STTCP_STABLE STTCP_SUITE

# Progress goes to stderr: the standard output of a script is its answer.
say() {
    printf '[%3d s] %s\n' $((EPOCHSECONDS - STTCP_T0)) "$*" >&2
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# pick DIR [NAME...]: the tests of DIR to run, a line each: those named, or else those of TESTS="NAME ...", or else all.
pick() {
    local dir=$1 tests name
    read -ra tests <<<"${*:2}"
    [[ ${#tests[@]} -gt 0 ]] || read -ra tests <<<"${TESTS-}"
    if [[ ${#tests[@]} -eq 0 ]]; then
        mapfile -t tests < <(find "$dir" -name '*.sh' ! -name 'lib*.sh' -printf '%f\n' | sed 's/\.sh$//' | sort)
    fi
    for name in "${tests[@]}"; do
        [[ -f $dir/$name.sh ]] || die "no test $dir/$name.sh"
    done
    printf '%s\n' "${tests[@]}"
}

# key WORD...: a short name for what an artefact is made from. A word that names a file stands for its content.
key() {
    local word
    for word; do
        if [[ -f $word ]]; then
            cat "$word"
        else
            printf '%s\n' "$word"
        fi
    done | sha256sum | cut -c1-12
}

# artefact NAME KEY BUILDER [ARG...]: prints the path of $STTCP_CACHE/NAME-KEY. If it is not there, calls
# `BUILDER DIR ARG...` in an empty temporary directory's name and renames the result into place when it is whole.
# A lock for each NAME keeps two checkouts from building at once; keys unused for two days are removed.
artefact() {
    local name=$1 path=$STTCP_CACHE/$1-$2 builder=$3 tmp lock old
    shift 3
    mkdir -p "$STTCP_CACHE"
    if [[ ! -e $path ]]; then
        exec {lock}>"$STTCP_CACHE/$name.lock"
        flock -n "$lock" || { say "waiting for another build of $name ..." && flock "$lock"; }
        if [[ ! -e $path ]]; then
            rm -rf --one-file-system "$STTCP_CACHE/tmp.$name".*
            tmp=$(mktemp -d "$STTCP_CACHE/tmp.$name.XXXXXX")
            chmod 755 "$tmp"
            "$builder" "$tmp" "$@" {lock}>&- >&2
            mv "$tmp" "$path"
            while read -r old; do
                [[ $old == "$path" ]] || rm -rf --one-file-system "$old"
            done < <(find "$STTCP_CACHE" -maxdepth 1 -name "$name-*" -mmin +2880)
        fi
        exec {lock}>&-
    fi
    touch -c "$path"
    printf '%s\n' "$path"
}

need_root() {
    [[ $EUID -eq 0 ]] || die "not root: run it as root (it makes mounts, namespaces and a Debian tree)"
}

need_debian() {
    command -v apt-get >/dev/null ||
        die "no apt-get: run it on Debian (12 or later) or in a Debian container"
}

# need_disk GIB: checks the cache's file system.
need_disk() {
    local free
    mkdir -p "$STTCP_CACHE"
    free=$(df --output=avail -BG "$STTCP_CACHE" | tr -dc '0-9\n' | tail -1)
    [[ $free -ge $1 ]] || die "only $free GiB free under $STTCP_CACHE: free $1 GiB or set XDG_CACHE_HOME to a larger disk"
}

# need PACKAGE...: installs the host packages that are missing.
need() {
    local package missing=() log
    for package; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    need_root
    need_debian
    say "installing host packages: ${missing[*]} ..."
    log=$(mktemp)
    apt-get update -qq >"$log" 2>&1 ||
        die "apt-get update failed: check the network and apt's sources ($(tail -1 "$log"))"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=600 \
        "${missing[@]}" >"$log" 2>&1 ||
        die "apt-get install ${missing[*]} failed: install them by hand ($(grep '^E:' "$log" | tail -1))"
    rm -f "$log"
}

# sources SUITE: its apt sources, on the mirrors that the host itself uses. Only Debian 13 has more than one part. Whether
# a mirror may lag behind is for the host's apt to say.
sources() {
    local suite=$1 main security list valid options
    list=$(mirrors)
    main=$(sed -n 's/ Debian$//p' <<<"$list" | head -1)
    security=$(sed -n 's/ Debian-Security$//p' <<<"$list" | head -1)
    [[ -n $main ]] || die "apt knows no Debian mirror: give apt a source of Debian's main archive and run apt-get update"
    valid=$(apt-config dump --no-empty --format '%v' Acquire::Check-Valid-Until)
    options="signed-by=$STTCP_KEYRING check-valid-until=${valid:-yes}"
    echo "deb [$options] $main $suite main"
    [[ $suite == "$STTCP_STABLE" ]] || return 0
    echo "deb [$options] $main $suite-updates main"
    echo "deb [$options] $main $suite-backports main"
    [[ -z $security ]] || echo "deb [$options] $security $suite-security main"
}

# mirrors: "address label" of each archive that apt has an index of.
mirrors() {
    local format='$(REPO_URI) $(LABEL)'
    need_debian
    if ! apt-get indextargets --format "$format" 'Created-By: Packages' 'Origin: Debian' | grep .; then
        apt-get update -qq >&2 || die "apt-get update failed: check the network and apt's sources"
        apt-get indextargets --format "$format" 'Created-By: Packages' 'Origin: Debian'
    fi | sort -u
}

# For awk: the median of a list of numbers in one string, and its ends.
# shellcheck disable=SC2034 # read by who sources this
awk_median='
    function median(list, form,    value, count, at, to, held) {
        count = split(list, value, " ")
        for (at = 2; at <= count; at++) { held = value[at]; for (to = at - 1; to > 0 && value[to] + 0 > held + 0; to--) value[to + 1] = value[to]; value[to + 1] = held }
        return sprintf(form == "" ? "%.0f (%.0f to %.0f)" : form, value[int((count + 1) / 2)], value[1], value[count])
    }'

# put_table DOCUMENT TABLE: the table in Markdown takes the place of the document's that has the same first column.
put_table() {
    local new
    new=$(mktemp)
    awk -v table="$2" '
        BEGIN { getline head <table; rest = head; while ((getline line <table) > 0) rest = rest "\n" line; split(head, title, " *\\| *") }
        /^\|/ { split($0, cell, " *\\| *"); if (!inside && cell[2] == title[2]) { print rest; drop = 1 } inside = 1; if (drop) next }
        !/^\|/ { inside = drop = 0 }
        { print }' "$1" >"$new"
    cat "$new" >"$1"
    rm "$new"
}
