#!/bin/bash
# Finds, fetches and unpacks the stock Debian kernel: the packages of one version in one tree.
#   kernel.sh           prints the path of the tree
#   kernel.sh release   prints its release, like 7.3.4+deb13-amd64
# It is the newest of Debian 13's backports, or of STTCP_SUITE; STTCP_KERNEL=<release> chooses another release.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

apt=$STTCP_CACHE/apt/$STTCP_SUITE
archive=$STTCP_SUITE
[[ $STTCP_SUITE != "$STTCP_STABLE" ]] || archive+=-backports

# private_apt COMMAND [ARG...]: apt-get or apt-cache on the suite's archive, apart from the host's own lists.
private_apt() {
    local command=$1 dir=$apt
    shift
    mkdir -p "$dir"/{lists/partial,archives/partial}
    [[ -e $dir/status ]] || : >"$dir/status"
    "$command" -q -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$dir/lists" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir" \
        -o APT::Architecture=amd64 -o APT::Architectures=amd64 -o APT::Sandbox::User=root \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

# refresh: the lists, from the mirrors that the host uses today.
refresh() {
    sources "$STTCP_SUITE" >"$apt/sources.new"
    mv "$apt/sources.new" "$apt/sources.list"
    # What went wrong is for the caller to say, in one line.
    private_apt apt-get update -qq -o APT::Update::Error-Mode=any >/dev/null 2>&1
}

# newest: asks the archive, at most once a day; without a network, the last answer stands.
newest() {
    local last=$apt/newest lock release
    exec {lock}>"$apt/lock"
    flock "$lock"
    if [[ -z $(find "$last" -mmin -1440 2>/dev/null) ]]; then
        say "looking up the kernel of $archive ..."
        if refresh && release=$(private_apt apt-cache show "linux-image-amd64/$archive" |
            sed -n 's/^Depends:.* linux-image-\([0-9][^ ,]*\) .*/\1/p' | head -1) && [[ -n $release ]]; then
            printf '%s\n' "$release" >"$last.new"
            mv "$last.new" "$last"
        elif [[ -s $last ]]; then
            say "no answer from the mirror: staying with kernel $(<"$last")"
        else
            die "cannot look up the kernel of $archive: check that apt-get update works here (network, proxy)"
        fi
    fi
    cat "$last"
}

# packages_of RELEASE: which packages a kernel is cut into differs between versions.
packages_of() {
    private_apt apt-cache pkgnames linux- | grep -E "^linux-(image|binary|modules|base|headers)-${1//+/\\+}\$"
}

# fetch DIR RELEASE: the packages, unpacked; vmlinuz, config, Module.symvers and source.tar.xz as links at the top.
fetch() {
    local dir=$1 release=$2 packages version deb
    need_disk 8
    say "fetching kernel $release ..."
    packages=$(packages_of "$release") || { refresh && packages=$(packages_of "$release"); } ||
        die "no kernel $release in $archive: set STTCP_KERNEL to a release that linux-image packages carry"
    version=$(private_apt apt-cache show "linux-image-$release" | sed -n 's/^Version: //p' | head -1)
    mkdir "$dir/deb"
    # shellcheck disable=SC2086 # one word each
    (cd "$dir/deb" && private_apt apt-get download -qq $packages \
        "linux-source-$(cut -d. -f1,2 <<<"$release")=$version" >&2) ||
        die "cannot download kernel $release and its source: check the network"
    for deb in "$dir"/deb/*.deb; do
        dpkg-deb -x "$deb" "$dir"
        rm "$deb"
    done
    rmdir "$dir/deb"
    # On a merged-usr tree /lib is a link; the packages agree with that or not, by age.
    if [[ -d $dir/lib/modules ]]; then
        mkdir -p "$dir/usr/lib"
        cp -al "$dir/lib/." "$dir/usr/lib/"
        rm -r "${dir:?}/lib"
    fi
    link "$dir" vmlinuz "boot/vmlinuz-$release" "usr/lib/modules/$release/vmlinuz" "usr/lib/linux/vmlinuz-$release"
    link "$dir" config "usr/lib/modules/$release/config" "boot/config-$release"
    link "$dir" Module.symvers "usr/src/linux-headers-$release/Module.symvers" "usr/lib/modules/$release/build/Module.symvers"
    link "$dir" source.tar.xz "usr/src/linux-source-$(cut -d. -f1,2 <<<"$release").tar.xz"
    printf '%s\n' "$release" >"$dir/release"
}

# link DIR NAME CANDIDATE...
link() {
    local dir=$1 name=$2 candidate
    shift 2
    for candidate; do
        if [[ -f $dir/$candidate ]]; then
            ln -s "$candidate" "$dir/$name"
            return
        fi
    done
    die "the kernel packages hold no $name (looked for $*)"
}

need debian-archive-keyring
mkdir -p "$apt"
release=${STTCP_KERNEL:-$(newest)}
case ${1-} in
release) printf '%s\n' "$release" ;;
"") artefact kernel "$(key "$(declare -f fetch link)" "$release")" fetch "$release" ;;
*) die "usage: kernel.sh [release]" ;;
esac
