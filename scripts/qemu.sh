#!/bin/bash
# Prints the program that is QEMU: the host's, or, where that is older than 8.1 (so on Debian 12), Debian 13's from a tree of its
# own. An older one breaks kernels that change their code while another of its CPUs runs, see docs/kernel-notes.md.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# build DIR
build() {
    need_root
    need_disk 2
    say "fetching QEMU of Debian 13 ..."
    local log=$1.log
    sources "$STTCP_STABLE" | mmdebstrap --variant=extract --format=directory --include=qemu-system-x86 \
        --aptopt='APT::Install-Recommends "false"' "$STTCP_STABLE" "$1" - >"$log" 2>&1 ||
        die "mmdebstrap failed, check the network and apt's sources: $(grep '^E:' "$log" | head -1) (whole log: $log)"
    rm -rf --one-file-system "$log" "$1"/usr/share/{doc,man,locale}
    # Its own loader, libraries and firmware, and the host's files by their names. exec: whoever started it knows its process.
    cat >"$1/qemu" <<'END'
#!/bin/sh
root=${0%/*}
lib=$root/usr/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR="$lib/qemu"
exec "$root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$lib" "$root/usr/bin/qemu-system-x86_64" \
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
END
    chmod 755 "$1/qemu"
}

new_enough() {
    local version
    version=$(qemu-system-x86_64 --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p')
    [[ -n $version ]] && printf '%s\n' 8.1 "$version" | sort -CV
}

if new_enough; then
    echo qemu-system-x86_64
else
    need mmdebstrap debian-archive-keyring
    echo "$(artefact qemu "$(key "$(declare -f build)" "$STTCP_STABLE")" build)/qemu"
fi
