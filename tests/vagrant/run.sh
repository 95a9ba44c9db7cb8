#!/usr/bin/env bash
# Brings up the machines of vagrant/ and walks its tour, whose steps fail where something is not as they
# say. Then nothing of it is left. usage: run.sh DEB
#
# The box is built here, the machines are emulated and the libvirt is one of its own (libvirt.sh): no
# internet, no KVM, no service of this machine. Where that cannot be it is an error with its reason,
# and a skip if KMESH_LITE_ALLOW_SKIP=1. Logs are kept in target/vagrant/log.
#
# From the environment: KMESH_LITE_DRIVER=kvm where that works; STEPS="1-traffic" walks only those.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${KMESH_LITE_VAGRANT_CACHE:-$here/../../target/vagrant}

skip() {
    if [[ ${KMESH_LITE_ALLOW_SKIP:-} == 1 ]]; then
        echo "skipped the tour with Vagrant: $*" >&2
        exit 0
    fi
    echo "the tour with Vagrant cannot run here: $*; KMESH_LITE_ALLOW_SKIP=1 makes this a skip" >&2
    exit 1
}

package=$(realpath "$1")
[[ $EUID == 0 ]] || skip "not root"
[[ $(uname -m) == x86_64 ]] || skip "the box is built for x86_64 only"
for tool in vagrant libvirtd virsh dnsmasq iptables qemu-system-x86_64 qemu-img mmdebstrap sfdisk mkfs.ext4 grub-mkimage ssh; do
    command -v "$tool" >/dev/null || skip "no $tool; \`make setup-vagrant\` installs it"
done
vagrant plugin list 2>/dev/null | grep -q vagrant-libvirt || skip "no vagrant-libvirt; \`make setup-vagrant\` installs it"
[[ -c /dev/net/tun ]] || skip "no /dev/net/tun, so machines can have no network"
unshare --mount --net --pid --fork true 2>/dev/null || skip "no namespaces of its own for libvirt"

mkdir -p "$cache"
cache=$(realpath "$cache")
# The box, Vagrant's folder and the logs are one set.
exec {lock}>"$cache/lock"
flock "$lock"
box=$("$here/box.sh" "$cache")

rm -rf "$cache"/run.*
work=$(mktemp -d "$cache/run.XXXXXX")
trap 'keep_logs; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
keep_logs() {
    rm -rf "$cache/log"
    cp -r "$work/libvirt/log" "$cache/log" 2>/dev/null || mkdir -p "$cache/log"
    cp "$work"/*.log "$cache/log/" 2>/dev/null || true
}

export KMESH_LITE_PACKAGE=$package KMESH_LITE_BOX=$box KMESH_LITE_DRIVER=${KMESH_LITE_DRIVER:-qemu}
export VAGRANT_HOME=$work/home VAGRANT_DOTFILE_PATH=$work/dot VAGRANT_CWD=$here/../../vagrant
export VAGRANT_DEFAULT_PROVIDER=libvirt VAGRANT_CHECKPOINT_DISABLE=1 HOME=$work

# A machine that hangs is not waited for longer than this. Ended by whatever, nothing stays behind: see
# libvirt.sh.
status=0
timeout --kill-after=10 "${KMESH_LITE_VAGRANT_LIMIT:-2400}" \
    "$here/libvirt.sh" "$work/libvirt" "$here/walk.sh" "$work" {lock}>&- || status=$?
[[ $status == 0 ]] || { echo "the tour with Vagrant failed ($status); logs in $cache/log" >&2; exit 1; }
