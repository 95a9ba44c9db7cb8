#!/usr/bin/env bash
# Debian's kernel of a series, from the machine's own sources. usage: kernel.sh CACHE SERIES
#
# Prints the folder that it is unpacked in. SERIES is like 6.12; the newest package of it is taken.
# Cloud kernels have EXT4 and NVMe built in, so they boot without an initramfs. Exits with 3 and a reason
# where there is no such package.
set -euo pipefail
cache=$1 series=$2

[[ $(uname -m) == x86_64 ]] || { echo "no guests for $(uname -m) yet"; exit 3; }
names="^linux-image-${series//./\\.}[.][^-]*(-[0-9]+)?-cloud-amd64(-unsigned)?\$"
# Signed ones sort first and are preferred; a version may be listed and be gone from the mirror.
packages=$(apt-cache search --names-only "$names" | cut -d ' ' -f 1 | sort -V | sort -s -t / -k 1,1V)
[[ -n $packages ]] || { echo "the configured suites have no kernel $series (linux-image-$series*-cloud-amd64)"; exit 3; }
package=$(grep -v -- '-unsigned$' <<<"$packages" | tail -n 1 || true)
package=${package:-$(tail -n 1 <<<"$packages")}

folder=$cache/kernels/$package
if ! [[ -e $folder/.complete ]]; then
    echo "system: getting $package" >&2
    rm -rf "$folder"
    mkdir -p "$folder"
    (cd "$folder" && apt-get download -q -o APT::Sandbox::User=root "$package" >&2)
    dpkg-deb -x "$folder"/*.deb "$folder"
    rm "$folder"/*.deb
    mv "$folder"/boot/vmlinuz-* "$folder/vmlinuz"
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
