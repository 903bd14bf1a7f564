#!/bin/bash
# Boots one guest for one job:   guest.sh [-m MIB] [-c CPUS] [-t SECONDS] [-a APPEND] [-l LOG] DIR JOB
# DIR is the guest's /share and current directory, JOB a bash script in it. The job's output is ours and so is its exit
# status; 99 if the kernel's log holds a warning or worse, 98 if the guest did not come to an end. LOG keeps the log.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$STTCP_TOP/scripts/machine.sh"

options=() log=''
while getopts m:c:t:a:l: option; do
    case $option in
    l) log=$OPTARG ;;
    m | c | t | a) options+=("-$option" "$OPTARG") ;;
    *) die "usage: guest.sh [-m MIB] [-c CPUS] [-t SECONDS] [-a APPEND] [-l LOG] DIR JOB" ;;
    esac
done
shift $((OPTIND - 1))
[[ $# -eq 2 ]] || die "usage: guest.sh [-m MIB] [-c CPUS] [-t SECONDS] [-a APPEND] [-l LOG] DIR JOB"
share=$(realpath "$1")
machine_ready
dir=$(mktemp -d)
trap 'rm -r "$dir"' EXIT
trap 'exit 130' INT TERM
ln -s "$share" "$dir/share"
log=${log:-$dir/log}

# The guest's parent is this very shell, so that it dies with us whatever kills us.
exec {out}> >(exec cat)
printer=$!
boot "$dir" "${options[@]}" -j "$2" >&"$out" {out}>&- &
wait $! || true
exec {out}>&-
wait "$printer"
cp "$dir/console" "$log"
if ! lines=$(scan_log "$log"); then
    cat >&2 <<<"$lines"
    say "the guest's kernel complained: ${lines%%$'\n'*}"
    exit 99
fi
if [[ ! -s $share/status ]]; then
    say "the guest came to no end; the last of its log:"
    tail -20 "$log" >&2
    exit 98
fi
exit "$(<"$share/status")"
