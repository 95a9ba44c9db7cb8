#!/usr/bin/env bash
# Makes the disk that a virtual machine boots from. usage: disk.sh CACHE ROOT KERNEL
#
# ROOT is what image.sh built, KERNEL what kernel.sh unpacked. Prints the disk's file.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=$1 root=$2 kernel=$3

key=$({ basename "$root"; cat "$here"/disk.sh "$here"/agent.*; } | sha256sum | cut -c1-12)
disk=$cache/disks/$(basename "$kernel")-$key.img
if [[ -e $disk ]]; then
    echo "$disk"
    exit
fi

echo "system: making a disk of $(basename "$root") with $(basename "$kernel")" >&2
mkdir -p "$cache/disks"
rm -f "$cache/disks/$(basename "$kernel")"-*
stage=$(mktemp -d "$cache/disk.XXXXXX")
trap 'rm -rf "$stage" "$disk.new"' EXIT
cp -a "$root/." "$stage/"
mkdir -p "$stage/usr/lib/modules" "$stage/in" "$stage/out"
cp -a "$kernel"/lib/modules/* "$stage/usr/lib/modules/"
depmod -b "$stage" "$(basename "$kernel"/lib/modules/*)"
echo '/dev/root / ext4 rw,noatime 0 0' >"$stage/etc/fstab"
install -m 755 "$here/agent.sh" "$stage/usr/local/sbin/agent"
install -m 644 "$here/agent.service" "$stage/etc/systemd/system/agent.service"
mkdir -p "$stage/etc/systemd/system/multi-user.target.wants"
ln -s ../agent.service "$stage/etc/systemd/system/multi-user.target.wants/"
# What only takes time: nobody logs in, and disks are not looked after.
for unit in serial-getty@.service systemd-user-sessions.service systemd-journal-flush.service \
    systemd-remount-fs.service sys-kernel-debug.mount sys-kernel-tracing.mount dev-mqueue.mount; do
    ln -sfn /dev/null "$stage/etc/systemd/system/$unit"
done
# Every daemon-reload runs each of these, and there is nothing for them to find.
mkdir -p "$stage/etc/systemd/system-generators"
for generator in "$stage"/usr/lib/systemd/system-generators/*; do
    case ${generator##*/} in
    systemd-fstab-generator) ;;
    *) ln -s /dev/null "$stage/etc/systemd/system-generators/${generator##*/}" ;;
    esac
done

# A partition, because it has an id to boot from; filled without a loop device.
truncate -s 3G "$disk.new"
printf 'label: dos\nlabel-id: 0xc1c1c1c1\nstart=2048, type=83\n' | sfdisk --quiet "$disk.new"
mkfs.ext4 -q -F -O ^has_journal,^metadata_csum -E offset=1048576,lazy_itable_init=1,nodiscard -m 0 \
    -d "$stage" "$disk.new" 3071M
mv "$disk.new" "$disk"
echo "$disk"
