#!/usr/bin/env bash
# Builds for every distribution there is to be a package for: linked by zig against the glibc of Debian 11, so
# that one binary serves all newer ones. usage: zigbuild.sh ARCHITECTURE CARGO-OPTION...   (x86_64 or aarch64)
set -euo pipefail
cd "$(dirname "$0")/.."
triple=$1-unknown-linux-gnu
shift

export CARGO_ZIGBUILD_ZIG_PATH=$PWD/target/zig/ziglang/zig
# No paths of the machine that builds: the same sources make the same binary elsewhere.
export RUSTFLAGS="--remap-path-prefix=$PWD=/kmesh-lite --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
if ! [[ -d $(rustc --print target-libdir --target "$triple") ]]; then
    # Debian's compiler takes Debian's library of the other architecture.
    library=$(packaging/library.sh target/library "$triple") || {
        echo "build: the compiler has no standard library for $triple: rustup target add $triple" >&2
        exit 1
    }
    export RUSTC=/usr/bin/rustc RUSTFLAGS="$RUSTFLAGS --sysroot=$library"
fi
exec cargo zigbuild --release --locked --target "$triple.2.31" "$@"
