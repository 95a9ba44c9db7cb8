#!/usr/bin/env bash
# Builds a Vagrant box for libvirt, once: a small Debian of this machine's own suite and sources with what
# the tour needs, and nothing of ours. usage: box.sh CACHE; prints the file.
#
# For machines that cannot fetch the official box. The disk is filled by mkfs and made bootable by writing
# GRUB's two parts to where the firmware and the first of them look: no loop device, no mount.
set -euo pipefail
cache=$1

# As an official box would have it: a login for Vagrant, sudo, rsync. Then what provision.sh installs.
packages=systemd,systemd-sysv,dbus,udev,kmod,initramfs-tools,linux-image-cloud-amd64,iproute2,procps
packages+=,openssh-server,sudo,rsync,curl,python3,haproxy

# A different script or package list is a different box.
key=$(sha256sum "$0" | cut -c1-12)
box=$cache/kmesh-lite-tour-$key.box
if [[ -e $box ]]; then
    echo "$box"
    exit
fi

. /etc/os-release
sources=/etc/apt/sources.list.d/debian.sources
[[ -e $sources ]] || sources=/etc/apt/sources.list
mkdir -p "$cache"
rm -f "$cache"/kmesh-lite-tour-*.box
work=$(mktemp -d "$cache/box.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
echo "vagrant: building the box (a minute or two)" >&2

# Only what an emulated machine of libvirt boots with: under software emulation every module costs.
cat >"$work/initramfs.conf" <<'CONF'
MODULES=list
BUSYBOX=no
COMPRESS=lz4
CONF
# Not asked for by anything but the kernel's own hooks; no man pages, no translations.
mmdebstrap --quiet --variant=minbase --include="$packages,lz4" \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"' \
    --essential-hook='printf "virtio_pci\nvirtio_blk\nvirtio_net\next4\n" >"$1/etc/initramfs-tools/modules"' \
    --essential-hook="cp '$work/initramfs.conf' \"\$1/etc/initramfs-tools/conf.d/tour.conf\"" \
    "$VERSION_CODENAME" "$work/root.tar" "$sources" >&2
mkdir "$work/root"
tar -C "$work/root" -xf "$work/root.tar"
rm "$work/root.tar"
root=$work/root

# Our own package is installed with everything that is in it.
rm -f "$root"/etc/dpkg/dpkg.cfg.d/*mmdebstrap*
echo box >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 box\n' >"$root/etc/hosts"
# Every machine makes its own at the first boot.
: >"$root/etc/machine-id"
printf 'LABEL=root / ext4 rw,noatime 0 0\n' >"$root/etc/fstab"
printf 'force-unsafe-io\n' >"$root/etc/dpkg/dpkg.cfg.d/fast"

# The first card is Vagrant's own; the second is configured by Vagrant.
printf '[Match]\nName=eth0\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/10-eth0.network"
rm -f "$root/etc/resolv.conf"
: >"$root/etc/resolv.conf"

# The key that everybody knows, for machines that nobody else reaches. To replace it, as Vagrant does by
# default, takes some logins, which are slow under emulation.
chroot "$root" useradd --create-home --shell /bin/bash vagrant
install -d -m 700 "$root/home/vagrant/.ssh"
install -m 600 "$(vagrant_key="$(find /usr/share /opt/vagrant -name vagrant.pub -path '*keys/vagrant.pub' 2>/dev/null | head -n 1)"; echo "${vagrant_key:?no public key of Vagrant on this machine}")" \
    "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant:vagrant /home/vagrant
printf 'vagrant ALL=(ALL) NOPASSWD: ALL\n' >"$root/etc/sudoers.d/vagrant"
chmod 440 "$root/etc/sudoers.d/vagrant"
printf 'UseDNS no\n' >"$root/etc/ssh/sshd_config.d/tour.conf"

# What only takes time here.
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    dpkg-db-backup.timer systemd-timesyncd.service systemd-hwdb-update.service getty.target \
    systemd-networkd-wait-online.service modprobe@drm.service modprobe@efi_pstore.service; do
    ln -sfn /dev/null "$root/etc/systemd/system/$unit"
done
chroot "$root" systemctl enable --quiet systemd-networkd ssh
# Configured by provision.sh; as it comes it would have nothing to do and fail.
chroot "$root" systemctl disable --quiet haproxy
ln -sfn /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"

version=$(ls "$root/lib/modules")
cat >"$work/grub.cfg" <<CONF
search --no-floppy --label root --set root
linux /boot/vmlinuz-$version root=LABEL=root rw console=ttyS0 quiet net.ifnames=0 audit=0 random.trust_cpu=on panic=-1 systemd.show_status=0 fsck.mode=skip
initrd /boot/initrd.img-$version
boot
CONF
grub-mkimage -O i386-pc -p /boot/grub -c "$work/grub.cfg" -o "$work/core.img" \
    biosdisk part_msdos ext2 search search_label linux normal boot

# GRUB's first part in the boot sector (without the partition table), its second part behind it.
disk=$work/disk.raw
truncate -s 3G "$disk"
printf 'label: dos\nstart=2048, type=83, bootable\n' | sfdisk -q "$disk"
dd if=/usr/lib/grub/i386-pc/boot.img of="$disk" bs=440 count=1 conv=notrunc status=none
dd if="$work/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
mkfs.ext4 -q -F -L root -O ^has_journal,^metadata_csum -E offset=1048576,lazy_itable_init=1,nodiscard -m 0 \
    -d "$root" "$disk" 3071M
qemu-img convert -O qcow2 "$disk" "$work/box.img"

printf '{ "provider": "libvirt", "format": "qcow2", "virtual_size": 3 }\n' >"$work/metadata.json"
cat >"$work/Vagrantfile" <<'RUBY'
Vagrant.configure("2") do |config|
  config.vm.guest = :debian
  config.ssh.insert_key = false
end
RUBY
tar -C "$work" -czf "$work/box.tar" metadata.json Vagrantfile box.img
mv "$work/box.tar" "$box"
echo "$box"
