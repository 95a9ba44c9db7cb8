#!/usr/bin/env bash
# Installs cargo tools that are not there in the version asked for. usage: setup-tools.sh NAME@VERSION...
set -euo pipefail

installed=$(cargo install --list)
for tool in "$@"; do
    name=${tool%@*} version=${tool#*@}
    if grep -qx "$name v$version:" <<<"$installed"; then continue; fi
    echo "setup: building $name $version (a minute or more)"
    cargo install --locked "$tool"
done
