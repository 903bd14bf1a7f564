#!/bin/bash
# Makes the guests' initramfs: a small Debian 13 tree, the modules that tests need, and our init. Prints its path.
#   image.sh [ARCHIVE...]   with these archives (cpio, compressed by zstd) unpacked over the tree
#   image.sh base           the tree and no init: what archives go over
set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages=(
    base-files libc-bin bash coreutils util-linux mount mawk sed grep findutils diffutils procps kmod
    iproute2 iputils-ping iputils-arping ethtool nftables netcat-openbsd iperf3 tcpdump
    python3 redis-server redis-tools fence-agents-dummy
)

# Loaded by name or by the kernel itself; what they depend on comes along.
modules=(
    virtio_net virtio_rng 9p 9pnet_virtio
    veth bridge tun dummy ifb macvlan vxlan udp_tunnel ip6_udp_tunnel
    sch_netem sch_fq sch_tbf sch_htb sch_ingress cls_matchall cls_u32 cls_flower act_mirred act_pedit act_gact
    nf_conntrack nf_nat nf_tables nft_ct nft_nat nft_masq nft_limit nft_log nft_reject nft_reject_inet nft_reject_ipv4
    nft_reject_ipv6 nft_queue nft_numgen nft_fwd_netdev nft_dup_netdev nft_dup_ipv4 nft_dup_ipv6 nf_dup_netdev
    nft_fib_inet nft_hash nft_quota nft_connlimit nfnetlink_queue nf_synproxy_core nft_synproxy
    tcp_bbr tcp_dctcp softdog crc32c
)

# extract DIR KERNEL: an archive of everything but our init.
extract() {
    local dir=$1 kernel=$2 root=$1/root log=$1.log release
    release=$(<"$kernel/release")
    need_root
    need_disk 4
    say "building the guest image ..."
    sources "$STTCP_STABLE" | mmdebstrap --variant=extract --format=directory --include="${packages[*]}" \
        --aptopt='APT::Install-Recommends "false"' "$STTCP_STABLE" "$root" - >"$log" 2>&1 ||
        die "mmdebstrap failed, check the network and apt's sources: $(grep '^E:' "$log" | head -1) (whole log: $log)"
    copy_modules "$kernel" "$release" "$dir"
    trim "$root"
    configure "$root"
    (cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio -0 -o -H newc --quiet) | zstd -q -T0 -12 >"$dir/base.cpio.zst"
    rm -rf --one-file-system "$root" "$log"
}

# copy_modules KERNEL RELEASE DIR: $modules and what they need, uncompressed, into DIR/root.
copy_modules() {
    local kernel=$1 release=$2 all=$3/all root=$3/root
    mkdir -p "$all/usr/lib/modules"
    ln -s usr/lib "$all/lib"
    cp -al "$kernel/usr/lib/modules/$release" "$all/usr/lib/modules/"
    "$STTCP_TOP/scripts/chroot.sh" depmod -b "$all" "$release"
    mkdir -p "$root/usr/lib/modules/$release"
    # modules.dep: "path/a.ko.xz: path/b.ko.xz ...", the dependencies being complete.
    printf '%s\n' "${modules[@]}" |
        awk 'NR == FNR { want[$1] = 1; next }
             { name = $1; sub(/.*\//, "", name); sub(/\.ko.*/, "", name); gsub("-", "_", name)
               if (name in want) { gsub(":", ""); for (i = 1; i <= NF; i++) print $i } }' \
            - "$all/usr/lib/modules/$release/modules.dep" | sort -u |
        (cd "$all/usr/lib/modules/$release" && cpio -pdL --quiet "$root/usr/lib/modules/$release")
    find "$root/usr/lib/modules" -name '*.xz' -exec xz -d {} +
    cp "$all/usr/lib/modules/$release"/modules.{order,builtin,builtin.modinfo} "$root/usr/lib/modules/$release/"
    "$STTCP_TOP/scripts/chroot.sh" depmod -b "$root" "$release"
    rm -rf --one-file-system "$all"
}

# trim ROOT: what no test reads.
trim() {
    local root=${1:?}
    rm -rf "$root"/usr/share/{doc,man,info,locale,zoneinfo,bug,lintian,i18n,common-licenses,bash-completion,gdb,perl,perl5} \
        "$root"/usr/lib/x86_64-linux-gnu/{gconv,perl,perl-base} "$root"/usr/lib/systemd "$root"/usr/bin/perl* \
        "$root"/usr/lib/python3*/{test,idlelib,tkinter,turtledemo,ensurepip,pydoc_data,lib2to3,unittest,_pyrepl} \
        "$root"/usr/bin/{redis-check-aof,dpkg*} "$root"/usr/lib/{dpkg,apt,udev} \
        "$root"/usr/lib/x86_64-linux-gnu/lib{sqlite3,db-5,apt-}.* "$root"/usr/share/{zsh,polkit-1,python3,debconf} \
        "$root"/var/{cache,lib/apt,lib/dpkg} "${root:?}"/{boot,dev,proc,sys}/*
}

# configure ROOT: what maintainer scripts would have done, as far as we need it.
configure() {
    local root=$1 name
    printf '%s\n' root:x:0:0:root:/root:/bin/bash tcpdump:x:100:100::/:/bin/false nobody:x:65534:65534::/:/bin/false >"$root/etc/passwd"
    printf '%s\n' root:x:0: tty:x:5: tcpdump:x:100: nogroup:x:65534: >"$root/etc/group"
    printf '%s\n' '127.0.0.1 localhost' '::1 localhost' >"$root/etc/hosts"
    for name in awk:mawk nc:nc.openbsd; do
        [[ -e $root/usr/bin/${name%:*} ]] || ln -s "${name#*:}" "$root/usr/bin/${name%:*}"
    done
    [[ -e $root/usr/bin/sh ]] || ln -s bash "$root/usr/bin/sh"
    mkdir -p "$root"/{dev,proc,sys,tmp,run,root,share}
    chroot "$root" ldconfig
    # By its content: the kernel does not unpack the times of files.
    chroot "$root" bash -c 'python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3*'
}

# append DIR INIT ARCHIVE...: archives and init as one file; the kernel unpacks them one after the other.
append() {
    local dir=$1
    install -m 755 "$2" "$dir/init"
    (cd "$dir" && cpio -o -H newc --quiet <<<init | zstd -q | cat "${@:3}" -) >"$dir/initrd"
    rm "$dir/init"
}

need mmdebstrap debian-archive-keyring cpio xz-utils zstd
kernel=$("$STTCP_TOP/scripts/kernel.sh")
init=$STTCP_TOP/tests/guest/init
base=$(artefact guestbase "$(key "$(declare -f extract copy_modules trim configure)" "${packages[*]}" "${modules[*]}" "$kernel")" \
    extract "$kernel")
if [[ ${1-} == base ]]; then
    printf '%s\n' "$base/base.cpio.zst"
    exit
fi
# By their names: archives are artefacts themselves.
image=$(artefact image "$(key "$(declare -f append)" "$init" "$base" "$*")" append "$init" "$base/base.cpio.zst" "$@")
printf '%s\n' "$image/initrd"
