#!/usr/bin/env bash
# Runs the property tests again and again; each run draws cases of its own. usage: properties.sh ROUNDS
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=$1

# The functions inside of `proptest! { ... }`.
mapfile -t names < <(git ls-files '*.rs' | xargs awk '
    /^ *proptest! \{/ { indent = match($0, /[^ ]/); inside = 1 }
    inside && /^ *}$/ && match($0, /[^ ]/) == indent { inside = 0 }
    inside && test && match($0, /fn [a-z_0-9]+\(/) { print substr($0, RSTART + 3, RLENGTH - 4) }
    { test = /#\[test\]/ }')
[[ ${#names[@]} != 0 ]] || { echo "properties: there is no property test" >&2; exit 1; }

passed=0
for ((round = 1; round <= rounds; round++)); do
    log=$(cargo test --locked --workspace --tests -- "${names[@]}" 2>&1) || { echo "$log"; exit 1; }
    for name in "${names[@]}"; do
        grep -qE "^test (.*::)?$name \.\.\. ok" <<<"$log" || { echo "properties: $name did not run" >&2; exit 1; }
        passed=$((passed + 1))
    done
done
echo "properties: $passed passed, 0 failed"
