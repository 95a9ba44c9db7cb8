#!/usr/bin/env bash
# Debian's kernel of a series, from a suite of the archive that this machine is set up with.
# usage: kernel.sh CACHE SUITE ARCHITECTURE [SERIES]
#
# Prints the folder that it is unpacked in. SERIES is like 6.12; the newest package of it is taken, or of the
# suite. Cloud kernels have EXT4 and NVMe built in, so they boot without an initramfs. Exits with 3 and a
# reason where there is no such package.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$1 suite=$2 architecture=$3 series=${4:-}

archive=$("$here/../../packaging/archive.sh" "$cache" "$suite" "$architecture")
export APT_CONFIG=$archive/apt.conf
numbers=${series//./[.]}
names="^linux-image-${numbers:-[0-9]+[.][0-9]+}[.][^-]*(-[0-9]+)?-cloud-$architecture(-unsigned)?\$"
# Signed ones sort first and are preferred; a version may be listed and be gone from the mirror.
packages=$(apt-cache search --names-only "$names" | cut -d ' ' -f 1 | sort -V | sort -s -t / -k 1,1V)
[[ -n $packages ]] || { echo "$suite has no kernel $series (linux-image-$series*-cloud-$architecture)"; exit 3; }
package=$(grep -v -- '-unsigned$' <<<"$packages" | tail -n 1 || true)
package=${package:-$(tail -n 1 <<<"$packages")}

folder=$cache/kernels/$suite-$package
if ! [[ -e $folder/.complete ]]; then
    echo "system: getting $package" >&2
    rm -rf "$folder"
    mkdir -p "$folder"
    # Newer ones come in parts, which depend on one another by version.
    parts=$(apt-cache depends --important "$package" | sed -nE 's/^ *Depends: (linux-(base|binary|modules)-[0-9].*)/\1/p')
    (cd "$folder" && apt-get download -q "$package" $parts >&2)
    for part in "$folder"/*.deb; do dpkg-deb -x "$part" "$folder"; done
    rm "$folder"/*.deb
    # One place for either, wherever the package has them.
    [[ -d $folder/lib/modules ]] || { mkdir -p "$folder/lib" && mv "$folder/usr/lib/modules" "$folder/lib/"; }
    mv "$(find "$folder" -name 'vmlinuz*' -type f | head -n 1)" "$folder/vmlinuz"
    # Only what a guest without hardware could use.
    (
        cd "$folder"/lib/modules/*/kernel
        rm -rf sound arch/x86/kvm fs/{xfs,btrfs,nfs,nfsd,smb,cifs,ceph,ocfs2,gfs2,f2fs,ntfs3} \
            drivers/{gpu,infiniband,media,staging,usb,iio,hwmon,mtd,target,input,bluetooth,md} \
            drivers/net/{ethernet,wireless}
    )
    touch "$folder/.complete"
fi
echo "$folder"
