#!/bin/bash
# Runs a command inside the tool root of Debian 13:   chroot.sh COMMAND [ARG...]
# The checkout, the cache and the current directory have the same paths inside as outside. The mounts live in a
# mount namespace of their own and end with the command, even a killed one.
# STTCP_BIND="DIR ..." adds directories; STTCP_ROOT chooses another tree.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# inside ROOT COMMAND...: the second half, in the new namespaces.
inside() {
    local root=$1 dir file
    shift
    mount --make-rprivate /
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=1777 tmp "$root/tmp"
    for dir in /etc/ssl/certs "$STTCP_TOP" "$STTCP_CACHE" "$PWD" ${STTCP_BIND-}; do
        mkdir -p "$root$dir"
        mount --rbind "$dir" "$root$dir"
    done
    mount -o remount,bind,ro "$root/etc/ssl/certs"
    for file in /etc/resolv.conf /etc/hosts; do
        [[ -e $file ]] || continue
        rm -f "$root$file"
        : >"$root$file"
        mount --bind "$(realpath "$file")" "$root$file"
    done
    exec env -i "${environment[@]}" chroot "$root" bash -c 'cd "$1" && shift && exec "$@"' chroot "$PWD" "$@"
}

[[ $# -gt 0 ]] || die "usage: chroot.sh COMMAND [ARG...]"
need_root
root=${STTCP_ROOT:-$(STTCP_SUITE=$STTCP_STABLE "$STTCP_TOP/scripts/toolroot.sh")}
mkdir -p "$STTCP_CACHE/cargo"
environment=(
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM="${TERM-dumb}"
    CARGO_HOME="$STTCP_CACHE/cargo" CARGO_TARGET_DIR="$STTCP_CACHE/target-$(key "$STTCP_TOP")"
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt CARGO_HTTP_CAINFO=/etc/ssl/certs/ca-certificates.crt
)
# Passed on where they are set: proxies, and what our own programs read.
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY CARGO_NET_OFFLINE ${!STTCP_@} ${!PROPTEST_@}; do
    [[ -z ${!name-} ]] || environment+=("$name=${!name}")
done
export -f inside
exec unshare --mount --pid --fork --kill-child bash -euo pipefail -c "
    environment=(${environment[*]@Q})
    inside \"\$@\"" chroot "$root" "$@"
