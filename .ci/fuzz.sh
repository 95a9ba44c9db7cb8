#!/usr/bin/env bash
# Fuzzes each target of fuzz/ for some seconds. usage: fuzz.sh SECONDS
#
# cargo-fuzz gives flags that only a nightly compiler takes; RUSTC_BOOTSTRAP makes the stable one take them.
set -euo pipefail
cd "$(dirname "$0")/.."
limit=$1
found=$PWD/target/fuzz
# What is fuzzed does not load programs into a kernel.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$found KMESH_LITE_EBPF=skip

skip() {
    echo "skipped fuzzing: $*"
    exit 0
}
command -v c++ >/dev/null || skip "no C++ compiler for libFuzzer"
compgen -G "$(rustc --print target-libdir)/librustc*_rt.asan.a" >/dev/null ||
    skip "the Rust toolchain has no address sanitizer"

triple=$(rustc -vV | sed -n 's/^host: //p')
for file in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$file" .rs)
    cargo fuzz build "$target"
    mkdir -p "$found/corpus/$target"
    # To begin with, where the way to something sensible is long.
    seeds=fuzz/seeds/$target
    [[ -d $seeds ]] || seeds=
    "$found/$triple/release/$target" "-max_total_time=$limit" -print_final_stats=1 \
        "-artifact_prefix=$found/$target-" "$found/corpus/$target" ${seeds:+"$seeds"}
done
