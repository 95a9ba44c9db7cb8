# A guest in a virtual machine, on the kernel that KMESH_LITE_KERNEL names (6.1 or 6.12), under software
# emulation: it needs no KVM. Sourced by run.sh.
#
# The folders go in and out as tar archives on raw disks; there is no network and no login. The root is
# that of the other guests with the kernel's modules, on NVMe, which Debian's cloud kernels have built in:
# so no initramfs is needed.

guest_missing() {
    [[ $(uname -m) == x86_64 ]] || { echo "virtual machines of $(uname -m) are not set up here"; return 1; }
    local tool
    for tool in qemu-system-x86_64 mkfs.ext4 sfdisk depmod; do
        command -v "$tool" >/dev/null || { echo "no $tool; \`make test-vm\` installs it"; return 1; }
    done
    [[ -n $(vm_kernel_package) ]] || { echo "the configured suites have no cloud kernel ${KMESH_LITE_KERNEL:-6.1}"; return 1; }
}

vm_kernel_package() {
    local series=${KMESH_LITE_KERNEL:-6.1}
    apt-cache search --names-only "^linux-image-${series//./\\.}\.[0-9].*-cloud-amd64(-unsigned)?$" |
        awk '{ print $1 }' | sort -V | tail -n 1
}

# vm_image ROOT: a disk and a kernel, $disk and $kernel, made once.
vm_image() {
    local root=$1 package folder version
    package=$(vm_kernel_package)
    folder=$root-$package
    disk=$folder/root.img kernel=$folder/vmlinuz
    [[ ! -e $folder/.complete ]] || return 0
    echo "system: building the disk of a machine with $package" >&2
    rm -rf "$folder"
    mkdir -p "$folder/deb"
    (cd "$folder/deb" && apt-get download -q -o APT::Sandbox::User=root "$package" >/dev/null)
    dpkg-deb -x "$folder"/deb/*.deb "$folder/deb/root"
    version=$(ls "$folder/deb/root/lib/modules")
    cp "$folder/deb/root/boot/vmlinuz-$version" "$kernel"

    cp -a "$root" "$folder/root"
    mkdir -p "$folder/root/usr/lib/modules"
    mv "$folder/deb/root/lib/modules/$version" "$folder/root/usr/lib/modules/"
    depmod -b "$folder/root" "$version"
    printf '/dev/root / ext4 rw,noatime 0 0\n' >"$folder/root/etc/fstab"
    cp "$here/vm/agent.sh" "$folder/root/usr/local/sbin/agent"
    cp "$here/vm/agent.service" "$folder/root/etc/systemd/system/"
    ln -s ../agent.service "$folder/root/etc/systemd/system/multi-user.target.wants/agent.service"

    # Filled by mkfs, so no loop device is needed; the root is found by its partition, as disks race.
    truncate -s 2G "$disk"
    printf 'label: dos\nlabel-id: 0xc1c1c1c1\nstart=2048, type=83\n' | sfdisk -q "$disk"
    mkfs.ext4 -q -F -O ^has_journal -E offset=1048576,lazy_itable_init=1,nodiscard -m 0 -d "$folder/root" "$disk" 2047M
    rm -rf "$folder/root" "$folder/deb"
    touch "$folder/.complete"
}

guest_run() {
    local in=$2 out=$3
    vm_image "$1"
    tar -cf "$out/../in.tar" -C "$in" .
    truncate -s %1M "$out/../in.tar"
    truncate -s 64M "$out/../out.raw"
    local start=$EPOCHREALTIME
    timeout --kill-after=5 1200 qemu-system-x86_64 -M pc -accel tcg,thread=multi,tb-size=512 -cpu max -smp 2 -m 1536 \
        -nodefaults -no-user-config -display none -monitor none -serial "file:$out/console.log" -no-reboot \
        -kernel "$kernel" \
        -drive "file=$disk,format=raw,if=none,id=root,snapshot=on,cache=unsafe" -device nvme,serial=root,drive=root \
        -drive "file=$out/../in.tar,format=raw,if=none,id=in,readonly=on" -device virtio-blk-pci,drive=in,serial=in \
        -drive "file=$out/../out.raw,format=raw,if=none,id=out,cache=unsafe" -device virtio-blk-pci,drive=out,serial=out \
        -append "root=PARTUUID=c1c1c1c1-01 rootwait rw rootfstype=ext4 console=ttyS0 panic=-1 quiet audit=0 tsc=reliable no_timer_check rcupdate.rcu_expedited=1 random.trust_cpu=on net.ifnames=0 systemd.show_status=0 fsck.mode=skip kmesh-lite.agent" \
        {lock}>&- &
    machine=$!
    wait "$machine" || true
    machine=
    echo "ran for $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms" >"$out/boot"
    tar -xf "$out/../out.raw" -C "$out"
}

guest_clean() {
    [[ -z ${machine:-} ]] || kill "$machine" 2>/dev/null || true
}
