#!/usr/bin/env bash
# Rust's standard library of another architecture, for Debian's own compiler.
# usage: library.sh CACHE TRIPLE; prints a folder that rustc takes for --sysroot.
#
# It comes from the archive that this machine is set up with, and is unpacked in that folder only.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$1 triple=$2
case $triple in
aarch64-*) architecture=arm64 ;;
x86_64-*) architecture=amd64 ;;
*) echo "library: no Debian for $triple" >&2; exit 1 ;;
esac

# Of one version, or the compiler refuses it.
version=$(dpkg-query -W -f '${Version}' rustc-web)
folder=$cache/$triple-$version
if ! [[ -e $folder/.complete ]]; then
    mkdir -p "$cache"
    . /etc/os-release
    archive=$(packaging/archive.sh "$(realpath "$cache")" "$VERSION_CODENAME" "$architecture")
    rm -rf "$folder"
    mkdir -p "$folder"
    (cd "$folder" && APT_CONFIG=$archive/apt.conf apt-get download -q "libstd-rust-web-dev=$version" >&2)
    dpkg-deb -x "$folder"/*.deb "$folder"
    rm "$folder"/*.deb
    [[ -d $folder/usr/lib/rustlib/$triple/lib ]]
    touch "$folder/.complete"
fi
realpath "$folder/usr"
