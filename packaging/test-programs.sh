#!/usr/bin/env bash
# The tests of the datapath, for a guest that has no cargo. usage: test-programs.sh OUT MODULE...
#
# OUT gets the program `datapath`, and `modules`: those of tests/tests/datapath that the guest is to run.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
shift

rm -rf "$out"
mkdir -p "$out"
# What `cargo test` builds too, with the same features: nothing is built twice.
program=$(cargo test --quiet --locked --workspace --no-run --message-format=json | python3 -c '
import json, sys
for line in sys.stdin:
    artifact = json.loads(line)
    if artifact.get("executable") and artifact["target"]["name"] == "datapath":
        print(artifact["executable"])')
[[ -n $program ]] || { echo "test-programs: there is no test \`datapath\`" >&2; exit 1; }
strip -o "$out/datapath" "$program"
printf '%s\n' "$@" >"$out/modules"
