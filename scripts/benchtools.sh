#!/bin/bash
# Makes the archive of programs that only the benchmarks need (tests/bench): what people use today beside us, servers with their load tools, and
# perf. It goes over the guests' image; prints its path.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages=(linux-perf keepalived conntrackd conntrack nginx-light memcached libmemcached-tools wrk curl)

# Kernel modules that they need beyond the image's.
modules=(nf_conntrack_netlink)

# collect DIR IMAGE KERNEL: all files of the packages and of what they depend on that the image has not, and the modules.
collect() {
    local dir=$1 image=$2 kernel=$3 root=$1/root log=$1.log name
    need_root
    need_disk 4
    say "fetching what the benchmarks run ..."
    sources "$STTCP_STABLE" | mmdebstrap --variant=extract --format=directory --include="${packages[*]}" \
        --aptopt='APT::Install-Recommends "false"' "$STTCP_STABLE" "$root" - >"$log" 2>&1 ||
        die "mmdebstrap failed: $(grep '^E:' "$log" | head -1) (whole log: $log)"
    mkdir -p "$root/opt/bench/modules"
    for name in "${modules[@]}"; do
        find "$kernel/usr/lib/modules" -name "$name.ko*" -exec cp {} "$root/opt/bench/modules/" \;
    done
    xz -d "$root"/opt/bench/modules/*.xz
    zstd -dc "$image" | cpio -t --quiet | LC_ALL=C sort >"$dir/there"
    (cd "$root" && find . -mindepth 1 -printf '%P\n' | LC_ALL=C sort | LC_ALL=C comm -23 - "$dir/there" |
        grep -Ev '^(boot|dev|proc|sys|var|usr/share/(doc|man|info|locale|zoneinfo|bug|lintian|i18n|icons|perl|bash-completion)|usr/lib/(systemd|udev|dpkg|apt|x86_64-linux-gnu/(gconv|perl)))(/|$)' |
        cpio -o -H newc --quiet) | zstd -q -12 >"$dir/benchtools.cpio.zst"
    rm -rf --one-file-system "$root" "$dir/there" "$log"
}

need mmdebstrap debian-archive-keyring cpio xz-utils zstd
kernel=$("$STTCP_TOP/scripts/kernel.sh")
base=$("$STTCP_TOP/scripts/image.sh" base)
archive=$(artefact benchtools "$(key "$(declare -f collect)" "${packages[*]} ${modules[*]}" "${base%/*}" "$kernel")" collect "$base" "$kernel")
printf '%s\n' "$archive/benchtools.cpio.zst"
