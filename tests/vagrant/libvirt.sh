#!/usr/bin/env bash
# Runs a command beside a libvirt of its own, which nobody else sees and which ends with the command:
# in its own network, mounts and processes. usage: libvirt.sh FOLDER COMMAND...
#
# FOLDER gets libvirt's files and logs. Whatever is started here, virtual machines too, is below the first
# process of a pid namespace: the kernel kills it all when that one ends, in whatever way.
set -euo pipefail

if [[ ${KMESH_LITE_LIBVIRT:-} != inside ]]; then
    export KMESH_LITE_LIBVIRT=inside
    exec unshare --mount --net --pid --ipc --uts --fork --kill-child --mount-proc --propagation private "$0" "$@"
fi
unset KMESH_LITE_LIBVIRT
state=$1
shift

# Folders of its own wherever libvirt keeps something.
mkdir -p "$state"/{etc,lib,log,cache}
cp -a /etc/libvirt/. "$state/etc/"
mkdir -p /var/lib/libvirt /var/log/libvirt /var/cache/libvirt
mount --bind "$state/etc" /etc/libvirt
mount --bind "$state/lib" /var/lib/libvirt
mount --bind "$state/log" /var/log/libvirt
mount --bind "$state/cache" /var/cache/libvirt
mount -t tmpfs tmpfs /run
mkdir /run/lock

# The network that is seen in /sys is that of whoever mounted it.
mount -t sysfs sysfs /sys
ip link set lo up
# Machines get consoles, which are terminals.
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts /dev/pts
mount --bind /dev/pts/ptmx /dev/ptmx
# A name that every /etc/hosts knows.
hostname localhost

# Nobody is protected from a machine that runs alone here, by root: no other user, no labels, no cgroups.
cat >>/etc/libvirt/qemu.conf <<'CONF'
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
CONF
cat >>/etc/libvirt/libvirtd.conf <<'CONF'
auth_unix_rw = "none"
auth_unix_ro = "none"
CONF

libvirtd >"$state/log/libvirtd.log" 2>&1 &
libvirtd=$!
until virsh --connect qemu:///system uri >/dev/null 2>&1; do
    kill -0 "$libvirtd" 2>/dev/null || { echo "libvirtd ended:" >&2; tail -n 20 "$state/log/libvirtd.log" >&2; exit 1; }
    sleep 0.2
done

"$@"
