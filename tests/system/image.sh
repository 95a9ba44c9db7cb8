#!/usr/bin/env bash
# Builds the root file system that the system tier boots, once: a small Debian of a suite of the archive that
# this machine is set up with, with systemd, and nothing of ours.
# usage: image.sh CACHE [SUITE ARCHITECTURE]; prints the folder.
#
# The same root serves systemd-nspawn, on the kernel of this machine, and virtual machines. The machine's own
# suite and architecture are the default.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
. /etc/os-release
own=$(dpkg --print-architecture)
cache=$1 suite=${2:-$VERSION_CODENAME} architecture=${3:-$own}

packages=systemd,systemd-sysv,dbus,udev,kmod,iproute2,procps,curl,python3,bpftool,rpm,man-db

# A different script or package list is a different image.
key=$(cat "$0" "$here/foreign.sh" | sha256sum | cut -c1-12)
root=$cache/root-$suite-$architecture-$key
if [[ -e $root/.complete ]]; then
    echo "$root"
    exit
fi

mkdir -p "$cache"
rm -rf "$cache/root-$suite-$architecture"-*
archive=$("$here/../../packaging/archive.sh" "$cache" "$suite" "$architecture")
# As the installer has it; newer suites are so by themselves.
merged=()
[[ $suite != bullseye ]] ||
    merged=(--setup-hook='for name in bin sbin lib lib32 lib64 libx32; do mkdir -p "$1/usr/$name"; ln -s "usr/$name" "$1/$name"; done')
# For the scenario that installs them; older suites have systemd-resolved in the package systemd.
resolved=()
[[ $suite == bullseye ]] ||
    resolved=(--customize-hook='mkdir -p "$1/opt/resolved/partial" && APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes \
        --quiet --download-only --no-install-recommends --option Dir::Cache::archives="$1/opt/resolved" \
        install systemd-resolved libnss-resolve dnsmasq-base')
foreign=()
[[ $architecture == "$own" ]] || foreign=("$here/foreign.sh" "$architecture")
echo "system: building the root file system of $suite, $architecture (half a minute; where it is emulated, minutes)" >&2
tar=$cache/root-$suite-$architecture.tar
"${foreign[@]}" mmdebstrap --quiet --mode=root --skip=check/qemu,chroot/mount/sys --variant=minbase \
    --include="$packages" --architectures="$architecture" \
    --aptopt="$archive/acquire.conf" "${merged[@]}" "${resolved[@]}" \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    "$suite" "$tar" "$archive/sources.list" >&2
mkdir "$root"
tar -C "$root" -xf "$tar"
rm "$tar"

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
