# A guest in systemd-nspawn, on the kernel of this machine. Sourced by run.sh.

name=
leader=
spawn=

hierarchies() {
    # cgroup v2, wherever it is, and on a hybrid machine the one that systemd's own are in.
    findmnt -n -o TARGET -t cgroup2
    findmnt -n -o TARGET -t cgroup -O name=systemd || true
}

guest_name() { echo nspawn; }

# The tests of the datapath run on this kernel anyway. The scenario `reach` needs a kernel of its own: it
# includes `server_first`, and a daemon in a container does not know processes by the kernel's numbers.
guest_scenarios() { (cd "$here/scenarios" && ls *.sh | grep -vE '^(datapath|reach)' | sed 's/\.sh$//'); }

guest_missing() {
    local tool
    for tool in mmdebstrap systemd-nspawn; do
        command -v "$tool" >/dev/null || { echo "no $tool; \`make setup-test\` installs it"; return 1; }
    done
    [[ -n $(findmnt -n -o TARGET -t cgroup2) ]] || { echo "cgroup v2 is not mounted"; return 1; }
}

guest_prepare() { root=$("$here/image.sh" "$cache"); }

guest_architecture() { dpkg --print-architecture; }

guest_run() {
    local root=$1 in=$2 out=$3 hierarchy

    # The kernel lists the programs of every guest: one at a time.
    exec {lock}>/run/lock/kmesh-lite-system-tier
    flock "$lock"

    name=kmesh-lite-system-$$
    for hierarchy in $(hierarchies); do mkdir "$hierarchy/$name"; done
    mkdir "$out/../bpf"
    mount -t bpf -o mode=700 bpf "$out/../bpf"
    bpf=$(realpath "$out/../bpf")
    (
        for hierarchy in $(hierarchies); do echo "$BASHPID" >"$hierarchy/$name/cgroup.procs"; done
        export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_USE_CGNS=1
        exec systemd-nspawn --quiet --boot --directory="$root" --volatile=overlay --machine="$name" \
            --register=no --keep-unit --private-network --link-journal=no --console=pipe \
            --capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN,CAP_SYS_ADMIN,CAP_SYSLOG \
            --system-call-filter="bpf perf_event_open" \
            --bind-ro="$in:/in" --bind="$out:/out" --bind="$bpf:/sys/fs/bpf"
    ) </dev/null >"$out/console.log" 2>&1 {lock}>&- &
    spawn=$!

    local start=$EPOCHREALTIME
    # Until systemd has started everything, or nspawn gave up.
    while kill -0 "$spawn" 2>/dev/null && [[ ${EPOCHREALTIME/.*/} -lt $((${start/.*/} + 120)) ]]; do
        leader=$(pgrep -P "$spawn" | head -n 1 || true)
        [[ -n $leader ]] && nsenter -t "$leader" -a systemctl is-system-running 2>/dev/null |
            grep -qE 'running|degraded' && break
        sleep 0.1
    done
    echo "booted in $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms" >"$out/boot"
    timeout 600 nsenter -t "$leader" -a systemd-run --quiet --wait --pipe /in/main.sh >"$out/main.log" 2>&1
}

guest_clean() {
    local hierarchy
    # A signal to nspawn itself would leave the guest behind; this one asks its init for poweroff.
    if [[ -n $leader ]]; then
        kill -RTMIN+4 "$leader" 2>/dev/null || true
        for _ in $(seq 100); do kill -0 "$spawn" 2>/dev/null || break; sleep 0.1; done
        kill -KILL "$leader" 2>/dev/null || true
    elif [[ -n $spawn ]]; then
        kill "$spawn" 2>/dev/null || true
    fi
    [[ -z $spawn ]] || { wait "$spawn" || true; }
    [[ -z ${bpf:-} ]] || umount "$bpf"
    [[ -z $name ]] || for hierarchy in $(hierarchies); do
        [[ ! -d $hierarchy/$name ]] || find "$hierarchy/$name" -depth -type d -exec rmdir {} \;
    done
}
