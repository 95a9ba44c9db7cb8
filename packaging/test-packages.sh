#!/usr/bin/env bash
# Packages for the system tier, around the binaries that `cargo test` built: current and newer, the
# same but for their number. usage: test-packages.sh OUT
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
kinds=(deb rpm)

# What `cargo test` builds too, with the same features: nothing is built twice.
cargo test --quiet --locked --workspace --no-run

rm -rf "$out"
for name in current newer; do
    revision=1
    [[ $name == current ]] || revision=2
    REVISION=$revision FAST=1 packaging/package.sh target/debug/kmesh-lite target/debug/kmesh-lite-manual \
        "$out" "${kinds[@]}" >/dev/null
    for kind in "${kinds[@]}"; do
        mv "$out"/kmesh-lite[-_]*."$kind" "$out/$name.$kind"
    done
done
