#!/usr/bin/env bash
# Makes packages around a binary that is built already.
#
#   package.sh BINARY MANUAL OUT KIND...
#
# BINARY is the kmesh-lite to package, MANUAL the kmesh-lite-manual of this machine, OUT the folder that
# gets the packages, KIND deb or rpm. From the environment: TRIPLE, the binary's target, if it is not
# that of this machine; REVISION, the package's own number (1); FAST=1 for packages that only tests see.
#
# Everything is staged in target/package first. The tools then package what is there and never look for
# a binary themselves: given a target that happens to be the machine's own, they find another one.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=$1 manual=$2 out=$3
shift 3
revision=${REVISION:-1}
stage=target/package

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# The same sources make the same packages.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}

rm -rf "$stage"
mkdir -p "$stage" "$out"
"$manual" "$stage"
gzip -9n "$stage"/man/*
strip=strip
[[ -z ${TRIPLE:-} ]] || strip=/usr/lib/llvm-22/bin/llvm-strip
"$strip" -o "$stage/kmesh-lite" "$binary"
gzip -9nc CHANGELOG.md >"$stage/changelog.gz"
cat >"$stage/changelog.Debian" <<EOF
kmesh-lite ($version-$revision) unstable; urgency=medium

  * New upstream version; what changed is in changelog.gz.

 -- The kmesh-lite developers <kmesh-lite@users.noreply.github.com>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
EOF

for kind in "$@"; do
    case $kind in
    deb)
        cargo deb --quiet --no-build --no-strip --package kmesh-lite --deb-revision "$revision" \
            ${TRIPLE:+--target "$TRIPLE"} ${FAST:+--fast} --output "$out/"
        ;;
    rpm)
        cargo generate-rpm --package kmesh-lite --set-metadata "release = \"$revision\"" \
            ${TRIPLE:+--target "$TRIPLE"} ${FAST:+--payload-compress none} --source-date "$SOURCE_DATE_EPOCH" \
            --output "$out/"
        ;;
    *)
        echo "package.sh: \`$kind\` is no kind of package: deb or rpm" >&2
        exit 2
        ;;
    esac
done
