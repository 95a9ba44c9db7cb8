#!/usr/bin/env bash
# Builds the root file system that the system tier boots, once: a small Debian of this machine's own
# suite and sources, with systemd, and nothing of ours. usage: image.sh CACHE; prints the folder.
#
# The same root serves systemd-nspawn, on the kernel of this machine, and virtual machines.
set -euo pipefail
cache=$1

packages=systemd,systemd-sysv,dbus,udev,kmod,iproute2,procps,curl,python3,bpftool,rpm,man-db

# A different script or package list is a different image.
key=$(sha256sum "$0" | cut -c1-12)
root=$cache/root-$key
if [[ -e $root/.complete ]]; then
    echo "$root"
    exit
fi

. /etc/os-release
sources=/etc/apt/sources.list.d/debian.sources
[[ -e $sources ]] || sources=/etc/apt/sources.list
mkdir -p "$cache"
rm -rf "$cache"/root-*
echo "system: building the root file system (about half a minute)" >&2
mmdebstrap --quiet --variant=minbase --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    "$VERSION_CODENAME" "$cache/root.tar" "$sources" >&2
mkdir "$root"
tar -C "$root" -xf "$cache/root.tar"
rm "$cache/root.tar"

# Our own packages are installed with everything that is in them.
rm -f "$root"/etc/dpkg/dpkg.cfg.d/*mmdebstrap*
echo guest >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 guest\n' >"$root/etc/hosts"
echo 00000000000000000000000000000001 >"$root/etc/machine-id"
printf 'force-unsafe-io\n' >"$root/etc/dpkg/dpkg.cfg.d/fast"
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\nRateLimitIntervalSec=0\n' >"$root/etc/systemd/journald.conf.d/test.conf"
# What only takes time here.
rm -f "$root/var/lib/man-db/auto-update"
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    dpkg-db-backup.timer man-db.timer systemd-timesyncd.service systemd-update-utmp.service \
    systemd-hwdb-update.service getty.target console-getty.service systemd-logind.service \
    modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service dev-hugepages.mount; do
    ln -sfn /dev/null "$root/etc/systemd/system/$unit"
done
ln -sfn /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
touch "$root/.complete"
echo "$root"
