#!/usr/bin/env bash
# cargo-deny over both lock files: duplicate versions, licences, sources, and advisories where a database
# of them was fetched. `cargo deny fetch` does that; it needs the internet, and this script does not.
set -euo pipefail
cd "$(dirname "$0")/.."

checks=(bans licenses sources)
databases=${CARGO_HOME:-$HOME/.cargo}/advisory-dbs
if compgen -G "$databases/*/.git" >/dev/null; then
    checks+=(advisories)
else
    echo "skipped the check for advisories: there is no database in $databases; \`cargo deny fetch\` gets one"
fi
# deny MANIFEST FLAG...
deny() {
    # Crates of other targets are looked at too, so they are fetched.
    cargo fetch --quiet --locked --manifest-path "$1"
    cargo deny --config "$PWD/deny.toml" --offline --locked --manifest-path "$1" check \
        --hide-inclusion-graph --deny warnings "${@:2}" "${checks[@]}"
}
deny Cargo.toml
# What deny.toml says is for both; here only some of it applies.
deny ebpf/Cargo.toml --allow unmatched-skip --allow license-not-encountered \
    --allow license-exception-not-encountered
