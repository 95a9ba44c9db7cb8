#!/usr/bin/env bash
# Builds kmesh-lite for every distribution there is to be a package for, and the packages.
# usage: build.sh ARCHITECTURE OUT KIND...   (x86_64 or aarch64; deb, rpm)
#
# Linked by zig against the glibc of Debian 11, so that one binary serves all newer ones.
set -euo pipefail
cd "$(dirname "$0")/.."
triple=$1-unknown-linux-gnu out=$2
shift 2

if ! [[ -d $(rustc --print target-libdir --target "$triple") ]]; then
    echo "build: the compiler has no standard library for $triple: rustup target add $triple" >&2
    exit 1
fi
export CARGO_ZIGBUILD_ZIG_PATH=$PWD/target/zig/ziglang/zig
# No paths of the machine that builds: the same sources make the same binary elsewhere.
export RUSTFLAGS="--remap-path-prefix=$PWD=/kmesh-lite --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
# The manual is written by a program that this machine must be able to run.
manual=target/debug/kmesh-lite-manual programs=(-p kmesh-lite)
if [[ $triple == "$(rustc -vV | sed -n 's/^host: //p')" ]]; then
    manual=target/$triple/release/kmesh-lite-manual
    programs+=(-p kmesh-lite-manual)
fi
cargo zigbuild --release --locked "${programs[@]}" --target "$triple.2.31"
unset RUSTFLAGS
if [[ $manual == target/debug/* ]]; then cargo build --locked --workspace --bin kmesh-lite-manual; fi
TRIPLE=$triple packaging/package.sh "target/$triple/release/kmesh-lite" "$manual" "$out" "$@"
packaging/portable.sh "$out"/*
