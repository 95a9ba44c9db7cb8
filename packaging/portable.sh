#!/usr/bin/env bash
# Refuses a package whose binary needs more than Debian 11, Ubuntu 22.04 and RHEL 9 have.
# usage: portable.sh PACKAGE...
#
# It looks into the packages, not at what was built: a package can hold another binary than was meant.
set -euo pipefail
newest=2.31
libraries='^(libc|libm|libdl|libpthread|librt)\.so\.[0-9]+$|^ld-linux'

for package in "$@"; do
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    case $package in
    *.deb) dpkg-deb -x "$package" "$folder" ;;
    # It may exit with 1 although all is there; whether it is shows below.
    *.rpm) { rpm2cpio "$package" || true; } | (cd "$folder" && cpio --quiet -idm) ;;
    esac
    binary=$folder/usr/bin/kmesh-lite
    [[ -x $binary ]] || { echo "$package: has no /usr/bin/kmesh-lite" >&2; exit 1; }
    symbols=$(objdump -T "$binary")
    found=$(grep -o 'GLIBC_[0-9.]*' <<<"$symbols" | sed 's/GLIBC_//' | sort -uV | tail -n 1)
    if [[ $(printf '%s\n' "$found" "$newest" | sort -V | tail -n 1) != "$newest" ]]; then
        echo "$package: needs glibc $found, $newest is the newest that is everywhere:" >&2
        grep "GLIBC_$found" <<<"$symbols" >&2
        exit 1
    fi
    needed=$(objdump -p "$binary" | awk '$1 == "NEEDED" { print $2 }')
    if other=$(grep -vE "$libraries" <<<"$needed"); then
        echo "$package: links what its dependencies do not name: $other" >&2
        exit 1
    fi
    echo "$package: needs glibc $found and" $needed
    rm -rf "$folder"
done
