#!/usr/bin/env bash
# Fuzzes each target of fuzz/ for some seconds. usage: fuzz.sh SECONDS
#
# cargo-fuzz wants flags that only a nightly compiler takes; the stable one takes them when told so.
set -euo pipefail
cd "$(dirname "$0")/.."
limit=$1
found=$PWD/target/fuzz
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$found

triple=$(rustc -vV | sed -n 's/^host: //p')
for file in fuzz/fuzz_targets/*.rs; do
    target=$(basename "$file" .rs)
    if ! said=$(cargo fuzz build "$target" 2>&1); then
        echo "skipped fuzzing $target: it does not build: $(grep -m 1 '^error' <<<"$said" || tail -n 1 <<<"$said")"
        continue
    fi
    mkdir -p "$found/corpus/$target"
    "$found/$triple/release/$target" "-max_total_time=$limit" -print_final_stats=1 \
        "-artifact_prefix=$found/$target-" "$found/corpus/$target"
done
