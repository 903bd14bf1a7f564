#!/bin/bash
# Runs the simulation, in the tool root:   SEEDS=COUNT or SEEDS=FROM..TO soak.sh runs those schedules, 100,000 unless told;
# SEED=NUMBER soak.sh runs one and shows what happens in it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$STTCP_TOP"
words=("${SEEDS:-100000}")
[[ -z ${SEED-} ]] || words=(--seed "$SEED")
scripts/chroot.sh cargo run -q --profile soak --locked --manifest-path tests/sim/Cargo.toml -- "${words[@]}"
