# A guest in QEMU, on a kernel of Debian's. Sourced by run.sh.
#
# KMESH_LITE_KERNEL names it by what is not as on this machine, joined by `-`: a suite, a kernel's series, an
# architecture. `6.1` is that kernel of this machine's suite, `trixie` that suite with its newest kernel,
# `6.12-arm64` this machine's suite for another processor.
#
# By emulation, which every machine can do; KMESH_LITE_ACCEL=kvm is faster where it works.

guest=${KMESH_LITE_KERNEL:-6.1}
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
series=
architecture=$(dpkg --print-architecture)
for part in ${guest//-/ }; do
    case $part in
    [0-9]*) series=$part ;;
    amd64 | arm64) architecture=$part ;;
    *) suite=$part ;;
    esac
done
# Seconds for everything in the guest. The machine gets some more, to boot and to hand over its logs.
limit=${KMESH_LITE_GUEST_LIMIT:-3600}
# Seconds until the guest says on its console that it has booted, and how often it is started at most. An
# emulated boot takes some fifteen seconds, but once in a while one hangs before its kernel prints a word.
boot_limit=${KMESH_LITE_BOOT_LIMIT:-300}
boots=3
kernel=
disk=
qemu=

guest_name() { echo "qemu-$guest"; }

guest_architecture() { echo "$architecture"; }

guest_scenarios() { (cd "$here/scenarios" && ls *.sh | sed 's/\.sh$//'); }

guest_missing() {
    local tool
    for tool in mmdebstrap "$(machine)" sfdisk mkfs.ext4 depmod apt-get; do
        command -v "$tool" >/dev/null || { echo "no $tool; \`make setup-reach\` installs it"; return 1; }
    done
    [[ $architecture == "$(dpkg --print-architecture)" ]] || "$here/foreign.sh" "$architecture" true >&2 ||
        { echo "this machine cannot run programs of $architecture"; return 1; }
    kernel=$("$here/kernel.sh" "$cache" "$suite" "$architecture" "$series") || { echo "$kernel"; return 1; }
}

guest_prepare() {
    kernel=$("$here/kernel.sh" "$cache" "$suite" "$architecture" "$series")
    root=$("$here/image.sh" "$cache" "$suite" "$architecture")
    disk=$("$here/vm/disk.sh" "$cache" "$root" "$kernel")
}

# machine [OPTIONS]: the program that emulates one of this architecture, or what it is to be told.
machine() {
    local accelerator=${KMESH_LITE_ACCEL:-tcg,thread=multi,tb-size=512}
    case $architecture in
    amd64) [[ $# == 0 ]] && echo qemu-system-x86_64 || echo -machine pc -cpu max -accel "$accelerator" ;;
    # Signed pointers as the architecture defines them take half of the time, when they are emulated.
    arm64) [[ $# == 0 ]] && echo qemu-system-aarch64 || echo -machine virt -cpu max,pauth-impdef=on -accel "$accelerator" ;;
    esac
}

guest_run() {
    local in=$2 out=$3 attempt
    echo "$limit" >"$in/limit"
    # An emulated machine is slow: how many connects a second there are depends on what it runs on, and
    # some things take longer. There is time to leave a daemon stopped for as long as somebody might.
    cat >"$in/environment" <<EOF
export PACE=${PACE:-0.015} MIN_RATE=${MIN_RATE:-50} STOPPED=${STOPPED:-60}
export WATCHDOG=${WATCHDOG:-10s} PATIENCE=${PATIENCE:-180} TEST_LIMIT=${TEST_LIMIT:-900}
EOF
    tar -cf "$out/../in.tar" -C "$in" .
    truncate -s %1M "$out/../in.tar"
    for ((attempt = 1; attempt <= boots; attempt++)); do
        guest_start "$out"
        guest_booted "$out" && break
        guest_clean
        echo "system: $(guest_name) did not boot, try $attempt of $boots; its console ended with:"
        tail -n 5 "$out/console.log"
    done
    [[ -n $qemu ]] || return 0
    local code=0
    wait "$qemu" || code=$?
    qemu=
    [[ $code == 0 ]] || echo "QEMU ended with $code" >>"$out/qemu.log"
    tar -xf "$out/../out.tar" -C "$out" 2>/dev/null || true
}

# guest_start OUT: starts the machine; its process is $qemu.
guest_start() {
    local out=$1 console=ttyS0
    [[ $architecture != arm64 ]] || console=ttyAMA0
    : >"$out/console.log"
    rm -f "$out/../out.tar"
    truncate -s 64M "$out/../out.tar"
    TMPDIR=$out/.. timeout --kill-after=5 $((boot_limit + limit + 120)) "$(machine)" $(machine options) \
        -smp 2 -m 2048 -nodefaults -no-user-config -display none -monitor none -no-reboot \
        -serial "file:$out/console.log" -kernel "$kernel/vmlinuz" \
        -drive "file=$disk,format=raw,if=none,id=root,snapshot=on,cache=unsafe" \
        -device nvme,serial=root,drive=root \
        -drive "file=$out/../in.tar,format=raw,if=none,id=in,readonly=on" \
        -device virtio-blk-pci,drive=in,serial=in \
        -drive "file=$out/../out.tar,format=raw,if=none,id=out,cache=unsafe" \
        -device virtio-blk-pci,drive=out,serial=out \
        -append "root=PARTUUID=c1c1c1c1-01 rootwait rw rootfstype=ext4 console=$console panic=-1 nokaslr audit=0 tsc=reliable no_timer_check rcupdate.rcu_expedited=1 random.trust_cpu=on net.ifnames=0 systemd.show_status=0 fsck.mode=skip" \
        </dev/null >"$out/qemu.log" 2>&1 &
    qemu=$!
}

# guest_booted OUT: waits until the machine's console says that it has booted (vm/agent.sh). Fails if the
# machine ends before it does, or takes longer than a boot may.
guest_booted() {
    local deadline=$((SECONDS + boot_limit)) running=1
    until grep -q 'booted in [0-9]* ms' "$1/console.log"; do
        # What it said last is looked at once more after its end.
        [[ -n $running ]] && ((SECONDS < deadline)) || return 1
        sleep 0.2
        kill -0 "$qemu" 2>/dev/null || running=
    done
}

guest_clean() {
    # To `timeout`, which passes it on and ends by force what does not end.
    [[ -z $qemu ]] || { kill "$qemu" 2>/dev/null || true; wait "$qemu" || true; }
    qemu=
}
