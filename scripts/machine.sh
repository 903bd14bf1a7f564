# shellcheck shell=bash
# QEMU guests: how to boot one and how to judge its log. Source it after lib.sh.
#
# A guest has a directory:
#   share/       seen by the guest as /share (9p, both ways); share/ready is there when it is up
#   console      the kernel's log
#   cmd.in       names of scripts to run, see tests/guest/init
#   monitor.in   QEMU's own monitor; monitor.log has its answers
#   pid          of QEMU

# boot DIR [-m MIB] [-c CPUS] [-j JOB] [-a APPEND] [-h HOSTNAME] [-n TAP,MAC]... [-t SECONDS] [-- QEMU_ARGUMENT...]
# Replaces the shell that calls it by QEMU: call it in the background. The job's output comes out as standard output,
# which must be a pipe.
boot() {
    local dir=$1 memory=512 cpus=1 append='' limit=600 port option OPTIND=1 OPTARG pipe machine=() number=0
    shift
    while getopts m:c:j:a:h:n:t: option; do
        case $option in
        m) memory=$OPTARG ;;
        c) cpus=$OPTARG ;;
        j) append+=" sttcp.job=$OPTARG" ;;
        a) append+=" $OPTARG" ;;
        h) append+=" sttcp.hostname=$OPTARG" ;;
        n)
            machine+=(-netdev "tap,id=n$number,ifname=${OPTARG%,*},script=no,downscript=no,vhost=off"
                -device "virtio-net-pci,netdev=n$number,mac=${OPTARG#*,},romfile=")
            number=$((number + 1))
            ;;
        t) limit=$OPTARG ;;
        *) die "boot: bad option" ;;
        esac
    done
    shift $((OPTIND - 1))
    mkdir -p "$dir/share/run"
    rm -f "$dir"/{cmd,monitor}.{in,out} "$dir"/share/{ready,status}
    for pipe in cmd monitor; do
        mkfifo "$dir/$pipe.in" "$dir/$pipe.out"
        machine+=(-chardev "pipe,id=$pipe,path=$dir/$pipe")
    done
    : >"$dir/console"
    # QEMU never blocks on its monitor's answers, because somebody reads them.
    cat "$dir/monitor.out" >"$dir/monitor.log" &
    machine+=(-mon "chardev=monitor,mode=readline" -chardev "file,id=out,path=/dev/stdout" -device virtio-serial-pci)
    for port in cmd out; do
        machine+=(-device "virtserialport,chardev=$port,name=$port")
    done
    # shellcheck disable=SC2046 # several words on purpose
    exec setpriv --pdeathsig KILL timeout -k 5 "$limit" setpriv --pdeathsig KILL \
        "$STTCP_QEMU" -nodefaults -no-user-config -display none -no-reboot -pidfile "$dir/pid" \
        -M "${STTCP_MACHINE:-q35}" $(accelerator) -m "$memory" -smp "$cpus" -kernel "$STTCP_VMLINUZ" -initrd "$STTCP_INITRD" \
        -serial "file:$dir/console" -device virtio-rng-pci \
        -virtfs "local,path=$dir/share,mount_tag=share,security_model=none,multidevs=remap" "${machine[@]}" \
        -append "console=ttyS0 loglevel=5 panic=-1 mitigations=off no5lvl audit=0 init_on_alloc=0 tsc=nowatchdog random.trust_cpu=on $(
            addresses) $(processor_clock) net.ifnames=0 8250.nr_uarts=1 watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120$append" "$@" </dev/null
}

# machine_ready: what boot needs, made if missing. Call it once, before the first boot. STTCP_FLAVOUR=debug boots the debug kernel.
machine_ready() {
    need_root
    need iproute2 util-linux
    STTCP_QEMU=$("$STTCP_TOP/scripts/qemu.sh")
    if [[ ${STTCP_FLAVOUR-} == debug ]]; then
        STTCP_VMLINUZ=$("$STTCP_TOP/scripts/debugkernel.sh")/vmlinuz
    else
        STTCP_VMLINUZ=$("$STTCP_TOP/scripts/kernel.sh")/vmlinuz
    fi
    # shellcheck disable=SC2086 # one word each
    STTCP_INITRD=$("$STTCP_TOP/scripts/image.sh" ${STTCP_ARCHIVES-})
    export STTCP_QEMU STTCP_VMLINUZ STTCP_INITRD
    probe_kvm
    measure_processor
}

accelerator() {
    # An emulator does `rep movsb`, with which these make the kernel copy, byte by byte.
    local cpu=max,-erms,-fsrm,-fsrs,-fzrm
    if [[ -n ${STTCP_ICOUNT-} ]]; then
        # A nanosecond of the guest's clock is an instruction; while the one CPU waits the clock jumps.
        echo "-accel tcg,thread=single -icount shift=0,sleep=off -cpu $cpu"
    elif [[ ${STTCP_ACCEL-} == kvm ]]; then
        echo "-accel kvm -cpu host"
    else
        echo "-accel tcg,thread=multi -cpu $cpu"
    fi
}
# Code at another address is translated once more, so programs at random addresses start four times as slowly when emulated.
addresses() { [[ ${STTCP_ACCEL-} == kvm ]] || echo norandmaps; }

# processor_clock: what the guest's time-stamp counter counts in a millisecond. On a busy host it may find that to be a twentieth of what it is, and its clock
# then runs twenty times as fast.
processor_clock() { [[ -z ${STTCP_TSC_KHZ-} || -n ${STTCP_ICOUNT-} || ${STTCP_ACCEL-} == kvm ]] || echo "tsc_early_khz=$STTCP_TSC_KHZ"; }

# measure_processor: sets STTCP_TSC_KHZ, to what an emulated guest sees too: the host's counter. Measured once for each boot of the host.
measure_processor() {
    local source=$STTCP_TOP/scripts/processor.c answer
    [[ $STTCP_ACCEL == tcg && -z ${STTCP_TSC_KHZ-} ]] || return 0
    answer=$(artefact processor "$(key "$source" "$(</proc/sys/kernel/random/boot_id)")" count_ticks "$source")
    STTCP_TSC_KHZ=$(<"$answer/khz")
    export STTCP_TSC_KHZ
}
# count_ticks DIR SOURCE
count_ticks() {
    "$STTCP_TOP/scripts/chroot.sh" gcc -O1 -o "$1/ticks" "$2"
    "$STTCP_TOP/scripts/chroot.sh" "$1/ticks" >"$1/khz"
}

# probe_kvm: sets STTCP_ACCEL. A device that exists and opens may still be unable to run this kernel: boot one, once for
# each boot of the host.
probe_kvm() {
    local answer
    [[ -z ${STTCP_ACCEL-} ]] || return 0
    export STTCP_ACCEL=tcg
    [[ -w /dev/kvm ]] || return 0
    answer=$(artefact accelerator "$(key "$(</proc/sys/kernel/random/boot_id)" "$STTCP_VMLINUZ")" try_kvm)
    STTCP_ACCEL=$(<"$answer/name")
}
# try_kvm DIR
try_kvm() {
    local dir
    say "probing KVM ..."
    dir=$(mktemp -d)
    mkdir "$dir/share"
    echo true >"$dir/share/job"
    # The outer braces hush the shell itself, which tells of a QEMU that aborts.
    { (STTCP_ACCEL=kvm boot "$dir" -j job -t 20) || true; } >/dev/null 2>&1
    if [[ $(cat "$dir/share/status" 2>/dev/null) == 0 ]]; then echo kvm; else echo tcg; fi >"$1/name"
    rm -r "$dir"
    say "guests run under $(<"$1/name")"
}

# scan_log FILE: fails and prints the lines if the kernel complained.
scan_log() {
    local -a complaints=(
        # any kernel
        'WARNING:' 'BUG[: ]' 'Oops' 'Call Trace' 'Kernel panic' 'general protection' 'self-detected stall' 'detected .*stalls'
        'lockup' 'blocked for more than' 'refcount_t:' 'huh, entered' 'unregister_netdevice: waiting'
        # lockdep, kmemleak, debug objects, reference trackers: what they say of the kernel, and that they gave up
        'suspicious RCU' 'INFO: trying to register non-static key' 'turning off the locking correctness validator'
        'unreferenced object' 'Kernel memory leak detector disabled' 'ODEBUG:' 'ref_tracker:'
    )
    ! grep -nE "$(IFS='|' && echo "${complaints[*]}")" "$1"
}
