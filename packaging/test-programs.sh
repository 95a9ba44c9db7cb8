#!/usr/bin/env bash
# The programs of the tests of the datapath, for a guest that has no cargo. usage: test-programs.sh OUT
#
# OUT gets each test's program under the test's name, and `under-test`, the daemon that they start, whose
# path is built into them: `path` says it.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1

rm -rf "$out"
mkdir -p "$out"
# What `cargo test` builds too, with the same features: nothing is built twice.
cargo test --quiet --locked --workspace --no-run --message-format=json |
    python3 -c '
import json, sys
for line in sys.stdin:
    artifact = json.loads(line)
    if artifact.get("executable") and "tests" in artifact["package_id"].split("#")[0].rsplit("/", 1)[-1]:
        print(artifact["target"]["name"], artifact["executable"])' |
    while read -r name program; do
        [[ $name != kmesh-lite-under-test ]] || { echo "$program" >"$out/path"; name=under-test; }
        strip -o "$out/$name" "$program"
    done
[[ -e $out/path ]]
