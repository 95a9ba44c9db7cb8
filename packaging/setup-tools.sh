#!/usr/bin/env bash
# Installs cargo tools, named like their programs, that are not there in the version asked for.
# usage: setup-tools.sh NAME@VERSION...
set -euo pipefail

installed=$(cargo install --list)
for tool in "$@"; do
    name=${tool%@*} version=${tool#*@}
    if grep -qx "$name v$version:" <<<"$installed" && command -v "$name" >/dev/null; then continue; fi
    echo "setup: building $name $version (a minute or more)"
    cargo install --locked "$tool"
done
