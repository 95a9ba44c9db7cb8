#!/usr/bin/env bash
# Builds kmesh-lite for every distribution there is to be a package for, and the packages.
# usage: build.sh ARCHITECTURE OUT KIND...   (x86_64 or aarch64; deb, rpm)
set -euo pipefail
cd "$(dirname "$0")/.."
machine=$1 triple=$1-unknown-linux-gnu own=$(uname -m) out=$2
shift 2

# The manual is written by a program that this machine must be able to run.
manual=target/$own-unknown-linux-gnu/release/kmesh-lite-manual
if [[ $machine == "$own" ]]; then
    packaging/zigbuild.sh "$machine" -p kmesh-lite -p kmesh-lite-manual
else
    packaging/zigbuild.sh "$own" -p kmesh-lite-manual
    packaging/zigbuild.sh "$machine" -p kmesh-lite
fi
TRIPLE=$triple packaging/package.sh "target/$triple/release/kmesh-lite" "$manual" "$out" "$@"
packaging/portable.sh "$out"/*
