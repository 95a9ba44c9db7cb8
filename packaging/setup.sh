#!/usr/bin/env bash
# Installs what building and testing need. usage: setup.sh BPF_LINKER_VERSION PACKAGE...
# Does nothing where everything is there; elsewhere than on Debian it says what is missing.
set -euo pipefail

linker=$1
shift

have_packages() {
    local package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || return 1
    done
}

have_linker() {
    [[ $(bpf-linker --version 2>/dev/null) == "bpf-linker $linker" ]]
}

if command -v apt-get >/dev/null; then
    if ! have_packages "$@"; then
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
    fi
    if ! have_linker; then
        echo "setup: building bpf-linker $linker (about a minute)"
        LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version "$linker" --locked \
            --no-default-features --features llvm-22
    fi
elif ! command -v bpf-linker >/dev/null; then
    echo "setup: no apt-get here; install bpf-linker and a compiler for eBPF (README, \"Building elsewhere\")" >&2
    exit 1
fi

if ! command -v cargo >/dev/null; then
    echo "setup: no cargo: install Rust 1.95 or newer with rustup" >&2
    exit 1
fi
