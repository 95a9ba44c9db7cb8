#!/usr/bin/env bash
# Installs cargo tools that are not there in the version asked for. A tool is named like its program.
# usage: setup-tools.sh NAME@VERSION...
#
# The tools are built as fast as can be, as many at a time as there are processors: most work for a few
# seconds at a time, so optimizing them takes longer than it ever saves.
set -euo pipefail

if ! command -v cargo >/dev/null; then
    echo "setup: no cargo: install Rust 1.95 or newer with rustup" >&2
    exit 1
fi
export CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
export CARGO_PROFILE_RELEASE_DEBUG=0
# But for the crates that every byte of a package goes through.
optimized=()
for crate in keccak md-5 sha1 sha2 sha3 zstd-sys; do
    optimized+=(--config "profile.release.package.$crate.opt-level=2")
done
# For bpf-linker: the LLVM of Debian's rustc-web, which compiles the eBPF programs.
export LLVM_PREFIX=/usr/lib/llvm-22

missing=()
installed=$(cargo install --list)
for tool in "$@"; do
    name=${tool%@*} version=${tool#*@}
    # Elsewhere than on Debian another LLVM may be in use; setup.sh has asked for a bpf-linker.
    if [[ $name == bpf-linker ]] && ! command -v apt-get >/dev/null; then continue; fi
    if grep -qx "$name v$version:" <<<"$installed" && command -v "$name" >/dev/null; then continue; fi
    missing+=("$tool")
done
[[ ${#missing[@]} != 0 ]] || exit 0

logs=$(mktemp -d)
# The build of a tool, by its process.
declare -A building=()
trap 'kill "${!building[@]}" 2>/dev/null || true; wait; rm -rf "$logs"' EXIT
trap 'exit 130' INT TERM

failed=
one_ends() {
    local ended status=0 tool
    wait -n -p ended || status=$?
    tool=${building[$ended]}
    unset "building[$ended]"
    if [[ $status == 0 ]]; then
        echo "setup: $tool is installed"
    else
        echo "setup: $tool did not build:" >&2
        cat "$logs/$tool" >&2
        failed=1
    fi
}
for tool in "${missing[@]}"; do
    [[ ${#building[@]} -lt $(nproc) ]] || one_ends
    features=()
    [[ $tool != bpf-linker@* ]] || features=(--no-default-features --features llvm-22)
    echo "setup: building $tool"
    cargo install --locked "${optimized[@]}" "${features[@]}" "$tool" >"$logs/$tool" 2>&1 &
    building[$!]=$tool
done
while [[ ${#building[@]} != 0 ]]; do one_ends; done
[[ -z $failed ]]
