# shellcheck shell=bash
# Three guests on one Ethernet segment. A test sources it before anything else and gets:
#
#     ┌─ client ──────┐  ┌─ primary ─────┐  ┌─ backup ──────┐
#     │ 10.0.0.10     │  │ 10.0.0.1      │  │ 10.0.0.2      │     eth0 of each guest,
#     │ fd00::10      │  │ fd00::1       │  │ fd00::2       │     MAC 52:54:00:00:00:NUMBER
#     └──────┬────────┘  └──────┬────────┘  └──────┬────────┘
#            │ tap-client       │ tap-primary      │ tap-backup
#     ┌──────┴──────────────────┴──────────────────┴────────┐
#     │ segment: a bridge that floods multicast             │
#     └─────────────────────────────────────────────────────┘
#
#   start NAME [OPTION...]     boots a guest; options as of boot in machine.sh; at once back
#   ready NAME...              waits until guests take commands
#   on [-t SECONDS] NAME 'COMMAND'   runs it there (bash, as root, in /share); its output, its exit status. 124: took too
#                              long (60 s); 125: the guest died. May be called in the background, and many at a time.
#   kill_guest NAME            SIGKILL to its QEMU: the host loses power
#   stop_guest NAME            SIGSTOP to its QEMU: the same for the others, and takes no CPU time from them; nothing but kill_guest may follow
#   pause_guest NAME, resume_guest NAME   its CPUs stand still, its clock goes on
#   freeze NAME, thaw NAME     both stand still
#   unplug NAME [LINK], plug NAME [LINK]   the guest's eth0, or ethLINK, goes down and up
#   monitor NAME 'COMMAND'     for QEMU's monitor
#   alive NAME
#   share NAME                 prints the directory that the guest sees as /share
#   scan NAME...               fails if a guest's kernel complained
#
# With CABLE=1 the two servers have a link of their own too, eth1: 10.1.0.1 and 10.1.0.2 on a second bridge.
#
# The script runs again by itself in namespaces of its own (network, mounts, processes): the bridge needs no name that is
# free, and whatever kills the script kills every guest. With STTCP_RESULTS=DIR, the kernel logs stay there.

. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$STTCP_TOP/scripts/machine.sh"

if [[ -z ${STTCP_SEGMENT-} ]]; then
    machine_ready
    export STTCP_SEGMENT=1
    exec unshare --net --mount --pid --fork --kill-child --mount-proc bash "$0" "$@"
fi
unset STTCP_SEGMENT

SEGMENT=$(mktemp -d)
trap segment_down EXIT
trap 'exit 143' INT TERM
# /sys of the new network namespace.
mount -t sysfs sys /sys
ip link set lo up
ip link add segment type bridge mcast_snooping 0 stp_state 0
ip link set segment up
if [[ -n ${CABLE-} ]]; then
    ip link add cable type bridge mcast_snooping 0 stp_state 0
    ip link set cable up
fi

segment_down() {
    local log
    if [[ -n ${STTCP_RESULTS-} ]]; then
        mkdir -p "$STTCP_RESULTS"
        for log in "$SEGMENT"/*/console; do
            [[ ! -e $log ]] || cp "$log" "$STTCP_RESULTS/$(basename "$(dirname "$log")").dmesg"
        done
    fi
    # We are process 1 here: the guests end with us. Their shares are ours.
    kill -KILL -1 2>/dev/null
    rm -rf --one-file-system "$SEGMENT"
}

share() { printf '%s\n' "$SEGMENT/$1/share"; }

# tap NAME BRIDGE
tap() {
    [[ ! -e /sys/class/net/$1 ]] || return 0
    ip tuntap add "$1" mode tap
    ip link set "$1" master "$2" up
}

start() {
    local name=$1 dir=$SEGMENT/$1 number links=()
    shift
    case $name in
    primary) number=1 ;;
    backup) number=2 ;;
    client) number=10 ;;
    *) number=$((20 + $(find "$SEGMENT" -mindepth 1 -maxdepth 1 | wc -l))) ;;
    esac
    mkdir -p "$dir/share"
    rm -f "$dir"/pid "$dir"/share/{ready,status}
    tap "tap-$name" segment
    links=(-n "tap-$name,$(printf '52:54:00:00:00:%02x' "$number")")
    printf '%s\n' "ip address add 10.0.0.$number/24 dev eth0" "ip address add fd00::$number/64 dev eth0 nodad" \
        "ip link set eth0 up" >"$dir/share/start"
    if [[ -n ${CABLE-} && $name != client ]]; then
        tap "cable-$name" cable
        links+=(-n "cable-$name,$(printf '52:54:00:00:01:%02x' "$number")")
        printf '%s\n' "ip address add 10.1.0.$number/24 dev eth1" "ip link set eth1 up" >>"$dir/share/start"
    fi
    { boot "$dir" -h "$name" "${links[@]}" "$@" | cat >"$dir/output"; } 2>"$dir/errors" &
    disown # a killed guest is no news
}

ready() {
    local name limit=$((SECONDS + 120))
    for name; do
        until [[ -e $SEGMENT/$name/share/ready ]]; do
            [[ $SECONDS -lt $limit ]] || die "$name does not get ready: $(tail -3 "$SEGMENT/$name"/{errors,console} 2>&1)"
            sleep 0.1
        done
    done
}

alive() { [[ -s $SEGMENT/$1/pid ]] && kill -0 "$(<"$SEGMENT/$1/pid")" 2>/dev/null; }

# nap SECONDS: without a process of its own, of which the guests would feel some fifty a second for each command that is waited for.
exec {never}<> <(:)
nap() { read -rt "$1" -u "$never" || true; }

on() {
    local limit=60 name id run code
    if [[ $1 == -t ]]; then
        limit=$2
        shift 2
    fi
    name=$1
    shift
    id=$BASHPID-$EPOCHREALTIME
    run=$SEGMENT/$name/share/run/$id
    alive "$name" || return 125
    printf '%s\n' "$*" >"$run.sh"
    printf '%s\n' "$id" >"$SEGMENT/$name/cmd.in"
    limit=$((SECONDS + limit))
    until [[ -e $run.rc ]]; do
        alive "$name" || return 125
        if [[ $SECONDS -gt $limit ]]; then
            cat "$run.out" 2>/dev/null
            return 124
        fi
        nap 0.02
    done
    cat "$run.out"
    code=$(<"$run.rc")
    rm -f "$run".*
    return "$code"
}

monitor() { printf '%s\n' "$2" >"$SEGMENT/$1/monitor.in"; }
freeze() { monitor "$1" stop; }
thaw() { monitor "$1" cont; }
unplug() { monitor "$1" "set_link n${2:-0} off"; }
plug() { monitor "$1" "set_link n${2:-0} on"; }

pause_guest() { kill -STOP "$(<"$SEGMENT/$1/pid")"; }
resume_guest() { kill -CONT "$(<"$SEGMENT/$1/pid")"; }
stop_guest() { kill -STOP "$(<"$SEGMENT/$1/pid")"; }

kill_guest() {
    local pid
    pid=$(<"$SEGMENT/$1/pid")
    kill -KILL "$pid"
    while kill -0 "$pid" 2>/dev/null; do nap 0.01; done
}

scan() {
    local name failed=0
    for name; do
        scan_log "$SEGMENT/$name/console" >&2 || failed=1
    done
    return "$failed"
}
