#!/usr/bin/env bash
# The programs of tests, for a guest that has no cargo. usage: test-programs.sh OUT NAME...
#
# OUT gets the program of each file NAME of tests/tests, and `daemon`: the one that they start, and the
# path at which they look for it.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
shift

rm -rf "$out"
mkdir -p "$out/daemon"
# What `cargo test` builds too, with the same features: nothing is built twice.
built=$(cargo test --quiet --locked --workspace --no-run --message-format=json | python3 -c '
import json, sys
for line in sys.stdin:
    artifact = json.loads(line)
    if artifact.get("executable"):
        print(artifact["target"]["name"], artifact["executable"])')
program() {
    local found
    found=$(sed -n "s/^$1 //p" <<<"$built" | head -n 1)
    [[ -n $found ]] || { echo "test-programs: there is no test \`$1\`" >&2; return 1; }
    echo "$found"
}
for name in "$@"; do
    found=$(program "$name")
    strip -o "$out/$name" "$found"
done
found=$(program kmesh-lite-under-test)
strip -o "$out/daemon/program" "$found"
echo "$found" >"$out/daemon/path"
