#!/bin/bash
# Builds the traffic tool, build/sttcp-traffic, in the tool root.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
mkdir -p build
say "building sttcp-traffic ..."
scripts/chroot.sh bash -c '
    cargo build -q --release --locked --manifest-path tests/traffic/Cargo.toml &&
    cp -u "$CARGO_TARGET_DIR/release/sttcp-traffic" build/'
