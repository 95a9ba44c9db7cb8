#!/usr/bin/env bash
# Packages for guests that are not as this machine, as `make deb` makes them: current and newer, the same but
# for their number, and who connects to them. usage: portable-packages.sh OUT ARCHITECTURE...
#
# ARCHITECTURE is Debian's word, amd64 or arm64; each gets a folder.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$1
shift

for architecture in "$@"; do
    case $architecture in
    amd64) machine=x86_64 ;;
    arm64) machine=aarch64 ;;
    *) echo "portable-packages: nothing is built for $architecture" >&2; exit 1 ;;
    esac
    folder=$out/$architecture
    rm -rf "$folder"
    packaging/build.sh "$machine" "$folder/1" deb
    REVISION=2 TRIPLE=$machine-unknown-linux-gnu packaging/package.sh \
        "target/$machine-unknown-linux-gnu/release/kmesh-lite" \
        "target/$(uname -m)-unknown-linux-gnu/release/kmesh-lite-manual" "$folder/2" deb
    mv "$folder"/1/*.deb "$folder/current.deb"
    mv "$folder"/2/*.deb "$folder/newer.deb"
    rmdir "$folder/1" "$folder/2"
    # It uses little of kmesh-lite, whose code for release takes minutes to make.
    packaging/zigbuild.sh "$machine" -p kmesh-lite-tests --bin kmesh-lite-act \
        --config profile.release.package.kmesh-lite.opt-level=0 --config profile.release.package.kmesh-lite.debug=0
    /usr/lib/llvm-22/bin/llvm-strip -o "$folder/act" "target/$machine-unknown-linux-gnu/release/kmesh-lite-act"
done
