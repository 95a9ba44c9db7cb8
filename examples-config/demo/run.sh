#!/usr/bin/env bash
# The demo of `make run`: real traffic that follows a file. usage: run.sh KMESH_LITE
# Only processes of one cgroup, which this script makes, are routed; the rest of the host is not.
# With a terminal it stays up until Ctrl-C, without one it ends by itself.
set -euo pipefail

bin=$(realpath "$1")
here=$(dirname "$(realpath "$0")")
[[ $EUID == 0 ]] || { echo "demo: BPF programs need root: sudo make run" >&2; exit 1; }

if [[ -t 1 ]]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
step() { printf '\n%s== %s ==%s\n' "$bold" "$*" "$plain"; }
show() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; "$@"; }

mount=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
[[ -n $mount ]] || { echo "demo: cgroup v2 is not mounted" >&2; exit 1; }
name=kmesh-lite-demo-$$
cgroup=$mount/$name
dir=$(mktemp -d)
pids=()

cleanup() {
    trap - EXIT INT TERM
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    # The last process of a cgroup may still be leaving it.
    for _ in {1..50}; do rmdir "$cgroup" 2>/dev/null && break; read -rt 0.1 <> <(:) || true; done
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 0' INT TERM

# Runs a command inside the cgroup that is routed.
inside() { bash -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$cgroup" "$@"; }
kmesh() { "$bin" "$@" --socket "$dir/control.sock"; }

traffic() {
    printf '%s$ curl http://10.96.0.10/   (%s times)%s\n' "$dim" "$1" "$plain"
    inside bash -c 'for ((i = 0; i < $0; i++)); do curl -s --max-time 5 http://10.96.0.10/ || echo "failed"; done' "$1" |
        sort | uniq -c | awk '{ printf "%6d  %s\n", $1, substr($0, index($0, $2)) }'
}

# Saves a new file the way an editor does, and waits until the kernel follows it.
save() {
    sed "$1" "$dir/mesh.toml" >"$dir/new.toml"
    show kmesh plan "$dir/new.toml"
    mv "$dir/new.toml" "$dir/mesh.toml"
    for _ in {1..100}; do
        kmesh plan --exit-code >/dev/null 2>&1 && return
        read -rt 0.02 <> <(:) || true
    done
    echo "demo: the kernel does not follow the file" >&2
    exit 1
}

step "Three backends in three localities"
mkdir "$cgroup"
for backend in "1 rack-a (near)" "2 rack-b (same region)" "3 abroad (far)"; do
    read -r number label <<<"$backend"
    mkfifo "$dir/ready$number"
    python3 "$here/backend.py" "127.80.0.$number" 18080 "$label" >"$dir/ready$number" &
    pids+=($!)
    read -r _ <"$dir/ready$number"
    echo "127.80.0.$number:18080  $label"
done

step "The daemon, attached to cgroup /$name only"
cp "$here/mesh.toml" "$dir/mesh.toml"
cat "$dir/mesh.toml"
"$bin" run --config "$dir/mesh.toml" --cgroup "/$name" --socket "$dir/control.sock" \
    --no-agent 2>"$dir/log" &
daemon=$!
pids+=("$daemon")
for _ in {1..250}; do
    kmesh status >/dev/null 2>&1 && break
    kill -0 "$daemon" 2>/dev/null || { cat "$dir/log" >&2; exit 1; }
    read -rt 0.02 <> <(:) || true
done
cat "$dir/log"

step "Policy random: traffic to 10.96.0.10 spreads over all three"
traffic 60
show kmesh status

step "Edit the file: policy failover, nearest locality first"
save 's/policy = "random"/policy = "failover"/'
traffic 30

step "Remove the near locality: connections fail over to the next"
save '/127.80.0.1/d'
traffic 30

step "Break the file: the last good state stays"
cp "$dir/mesh.toml" "$dir/good.toml"
sed -i 's/failover/failovr/; s/127.80.0.2/127.80.0.256/' "$dir/mesh.toml"
kmesh reload || true
traffic 10
mv "$dir/good.toml" "$dir/mesh.toml"
show kmesh reload

step "Why does a connect go where it goes?"
show kmesh explain 10.96.0.10:80
show kmesh explain 10.96.0.10:81 || true

step "What the daemon said"
cat "$dir/log"

if [[ -t 0 && -t 1 && -z ${CI:-} ]]; then
    cat <<END

${bold}It stays up until Ctrl-C.${plain} In another terminal, as root:
  echo \$\$ > $cgroup/cgroup.procs        # this shell is routed now
  curl http://10.96.0.10/
  \$EDITOR $dir/mesh.toml
  $bin status --socket $dir/control.sock
END
    wait "$daemon"
else
    step "Stopping: no terminal to wait for"
fi
