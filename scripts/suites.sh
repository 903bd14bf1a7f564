#!/bin/bash
# Makes the archive of the suites that nobody here wrote, for tests/suites: self-tests of the kernel, built from the stock
# kernel's own source, and Redis' test suite. In the guest they are in /opt/suites. Prints the archive's path.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# What the suites need to be built and to run, beyond what tool root and guest image have.
packages=(tcl8.6 libcap-dev libnuma-dev)

# Programs in the kernel's tools/testing/selftests.
programs=(
    net/mptcp/mptcp_connect net/mptcp/mptcp_inq net/mptcp/mptcp_sockopt
    net/bind_bhash net/bind_timewait net/bind_wildcard net/cmsg_sender net/epoll_busy_poll net/fin_ack_lat
    net/getsockopt_iter net/ip_local_port_range net/msg_zerocopy net/reuseaddr_conflict net/reuseaddr_ports_exhausted
    net/reuseport_addr_any net/reuseport_bpf net/reuseport_bpf_cpu net/reuseport_bpf_numa net/reuseport_dualstack
    net/sk_bind_sendto_listen net/sk_connect_zero_addr net/sk_so_peek_off net/so_incoming_cpu net/so_rcv_listener
    net/socket net/stress_reuseport_listen net/tcp_fastopen_backup_key net/tcp_inq net/tcp_port_share
    net/tls net/txtimestamp
    net/tcp_ao/{bench-lookups,connect,connect-deny,icmps-accept,icmps-discard,key-management,restore,rst,self-connect,seq-ext,setsockopt-closed,unsigned-md5}_ipv{4,6}
)

# Kernel modules that self-tests load.
modules=(tls vrf)

# collect DIR KERNEL
collect() {
    local dir=$1 kernel=$2 suites=$1/root/opt/suites log=$1.log
    need_root
    need_disk 4
    say "fetching Tcl and Redis' test suite ..."
    debian "$dir" >"$log" 2>&1 || die "mmdebstrap failed: $(grep -E '^[EW]:|error' "$log" | head -1) (whole log: $log)"
    say "building self-tests of kernel $(<"$kernel/release") ..."
    mkdir -p "$suites/selftests" "$suites/redis" "$suites/modules"
    selftests "$dir" "$kernel" >"$log" 2>&1 || die "the self-tests do not build: $(grep -E 'rror' "$log" | head -1) (whole log: $log)"
    tar -xf "$dir"/redis_*.orig.tar.* -C "$suites/redis" --strip-components=1 \
        --wildcards --anchored --no-wildcards-match-slash '*/tests'
    tcl "$dir"
    modules "$dir" "$kernel"
    (cd "$dir/root" && find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc --quiet) | zstd -q -12 >"$dir/suites.cpio.zst"
    rm -rf --one-file-system "$dir"/{root,source,debian} "$dir"/redis_*.orig.tar.* "$log"
}

# debian DIR: $packages, unpacked in DIR/debian, and the tar file of Redis' source in DIR.
debian() {
    # The archive's source lists beside those of its packages.
    sources "$STTCP_STABLE" | sed -n "p; s/^deb\( .* $STTCP_STABLE main\)/deb-src\1/p" |
        mmdebstrap --variant=extract --format=directory --include="${packages[*]}" \
            --aptopt='APT::Install-Recommends "false"' \
            --extract-hook='cd "$1/.." && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get source --download-only --tar-only redis' \
            "$STTCP_STABLE" "$1/debian" -
}

# selftests DIR KERNEL: $programs and the scripts and libraries beside them.
selftests() {
    local dir=$1 kernel=$2 place=tools/testing/selftests
    mkdir "$dir/source"
    tar -xf "$kernel/source.tar.xz" -C "$dir/source" --strip-components=1 --exclude='*/drivers/*' \
        --wildcards '*/Makefile' '*/Kbuild*' '*/scripts/*' '*/include/*' '*/arch/x86/*' '*/tools/*' '*/usr/*'
    "$STTCP_TOP/scripts/chroot.sh" bash -euxc '
        cd "$1/source"
        make -s headers
        # After what the compiler has of its own, so that libc is the tool root'\''s.
        export C_INCLUDE_PATH=$1/debian/usr/include LIBRARY_PATH=$1/debian/usr/lib/x86_64-linux-gnu
        for program in "${@:3}"; do
            make -s -C "$2/${program%/*}" KHDR_INCLUDES="-isystem $PWD/usr/include" "$PWD/$2/$program"
            strip "$2/$program"
        done' selftests "$dir" "$place" "${programs[@]}"
    (cd "$dir/source/$place" && printf '%s\n' "${programs[@]}" && find kselftest net/*.sh net/lib/sh net/mptcp net/tcp_ao -name '*.sh' -o -name settings) |
        (cd "$dir/source/$place" && cpio -pd --quiet "$dir/root/opt/suites/selftests")
}

# tcl DIR: the interpreter for Redis' suite, and the library for one self-test.
tcl() {
    (cd "$1/debian" && find usr/bin/tclsh8.6 usr/share/tcltk/tcl8.6 usr/lib/x86_64-linux-gnu/{libtcl8.6,libnuma}.so* |
        cpio -pd --quiet "$1/root")
}

# modules DIR KERNEL: $modules, uncompressed; none of them needs another.
modules() {
    local name
    for name in "${modules[@]}"; do
        find "$2/usr/lib/modules" -name "$name.ko*" -exec cp {} "$1/root/opt/suites/modules/" \;
    done
    xz -d "$1"/root/opt/suites/modules/*.xz
}

need mmdebstrap debian-archive-keyring cpio xz-utils zstd
kernel=$("$STTCP_TOP/scripts/kernel.sh")
archive=$(artefact suites "$(key "$(declare -f collect debian selftests tcl modules)" "${packages[*]} ${programs[*]} ${modules[*]}" "$kernel")" \
    collect "$kernel")
printf '%s\n' "$archive/suites.cpio.zst"
