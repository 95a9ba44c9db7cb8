#!/usr/bin/env bash
# Fetches packages of Debian, with what they depend on, and unpacks them below a folder. Nothing is installed:
# servers that would be started with the machine, or that exclude each other, harm nobody this way.
# usage: unpack.sh FOLDER PACKAGE...
#
# Does nothing where the same packages are there already.
set -euo pipefail

folder=$1
shift
[[ $(cat "$folder/packages" 2>/dev/null) != "$*" ]] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "setup: no apt-get here, so the matrix goes without what is not installed of: $*" >&2
    exit 0
fi
[[ $EUID == 0 ]] || { echo "setup: run as root once to unpack: $*" >&2; exit 1; }

echo "setup: unpacking $*"
[[ ${APT_UPDATE:-1} == 0 ]] || apt-get update -q
rm -rf "$folder"
mkdir -p "$folder/archives/partial" "$folder/root/usr"
# One at a time, for those that exclude each other. Nothing is locked because nothing is changed.
for package in "$@"; do
    apt-get install -q -y --no-install-recommends --download-only -o Debug::NoLocking=1 \
        -o Dir::Cache::archives="$(realpath "$folder")/archives" "$package" >"$folder/log" 2>&1 || {
        cat "$folder/log"
        echo "setup: $package cannot be fetched, so the matrix goes without it" >&2
    }
done
for archive in "$folder"/archives/*.deb; do
    # There is none where all of them are installed.
    [[ -e $archive ]] || continue
    dpkg-deb --extract "$archive" "$folder/root"
done
rm -rf "$folder/archives"
# On the machine these folders are merged into /usr.
for name in bin lib lib64 sbin; do
    [[ -d $folder/root/$name ]] || continue
    mkdir -p "$folder/root/usr/$name"
    cp -a --link "$folder/root/$name/." "$folder/root/usr/$name/"
    rm -rf "${folder:?}/root/$name"
done
# What links lead to by a path of the machine, such as /etc, is here.
find "$folder/root" -type l -lname '/*' -print0 | while IFS= read -r -d '' link; do
    target=$folder/root$(readlink "$link")
    [[ ! -e $target ]] || ln --symbolic --force --no-dereference --relative "$target" "$link"
done
echo "$*" >"$folder/packages"
