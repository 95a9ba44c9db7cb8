#!/usr/bin/env bash
# Everything that is published of a version, in target/release-VERSION: packages that were linted, a
# bill of materials, checksums. usage: release.sh ARCHITECTURE
set -euo pipefail
cd "$(dirname "$0")/.."
architecture=$1
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
out=target/release-$version

rm -rf "$out"
packaging/build.sh "$architecture" "$out" deb rpm
packaging/lint.sh "$out"/*.deb "$out"/*.rpm

# What the binary is made of, and the programs inside it.
triple=$architecture-unknown-linux-gnu
for part in Cargo.toml ebpf/Cargo.toml; do
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) cargo cyclonedx --quiet --manifest-path "$part" \
        --format json --spec-version 1.5 --target "$triple" --override-filename sbom
done
mv kmesh-lite/sbom.json "$out/kmesh-lite-$version.cdx.json"
mv ebpf/sbom.json "$out/kmesh-lite-ebpf-$version.cdx.json"
find . -name sbom.json -not -path './target/*' -delete
# Where it was built is nobody's business.
sed -i "s#file://$PWD#file:///kmesh-lite#g" "$out"/*.cdx.json

(cd "$out" && sha256sum -- * >SHA256SUMS)
ls -l "$out"
