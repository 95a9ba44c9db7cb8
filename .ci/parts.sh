#!/usr/bin/env bash
# Runs parts of what there is to check, and ends with a table of what passed and how long each took.
# usage: parts.sh PART...
#
# A PART is what is said to make: `lint`, or `test-vm KERNELS=6.1`. A part that fails does not keep the next
# ones from running, unless FAIL_FAST=1. What a part could not do here it says in a line that begins with
# `skipped`; these lines are repeated below the table.
set -euo pipefail
cd "$(dirname "$0")/.."
logs=target/parts
rm -rf "$logs"
mkdir -p "$logs"

minutes() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

rows=() passed=0 failed=0
began=$EPOCHSECONDS
for part in "$@"; do
    log=$logs/$((passed + failed + 1)).log
    start=$EPOCHSECONDS outcome=ok
    echo "=== make $part"
    if eval "make --no-print-directory $part" 2>&1 | tee "$log"; then
        passed=$((passed + 1))
    else
        outcome=FAILED
        failed=$((failed + 1))
    fi
    if [[ $outcome == ok ]] && grep -q '^skipped' "$log"; then outcome="ok, but for skips"; fi
    rows+=("$(minutes $((EPOCHSECONDS - start)))|$outcome|make $part")
    if [[ $outcome == FAILED && ${FAIL_FAST:-} == 1 ]]; then break; fi
done

echo
{
    echo "minutes|outcome|part"
    printf '%s\n' "${rows[@]}"
    echo "$(minutes $((EPOCHSECONDS - began)))||all"
} | column -t -s '|'
sed -n 's/^skipped/not done here: skipped/p' "$logs"/*.log | sort -u
echo
echo "parts: $passed passed, $failed failed"
[[ $failed == 0 ]]
