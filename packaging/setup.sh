#!/usr/bin/env bash
# Installs packages of Debian that building and testing need. usage: setup.sh PACKAGE...
# Does nothing where everything is there; elsewhere than on Debian it says what is missing.
set -euo pipefail

have_packages() {
    local package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || return 1
    done
}

if ! command -v apt-get >/dev/null; then
    command -v bpf-linker >/dev/null && exit 0
    echo "setup: no apt-get here; install bpf-linker and a compiler for eBPF (README, \"Building elsewhere\")" >&2
    exit 1
fi
if have_packages "$@"; then exit 0; fi
[[ $EUID == 0 ]] || { echo "setup: run as root once to install: $*" >&2; exit 1; }
echo "setup: installing $*"
apt-get update -q
# nginx and HAProxy are test peers: they must not start as services here.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
