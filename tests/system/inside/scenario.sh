# What scenarios are written with. Sourced before each; a command that fails ends the scenario.

unit=kmesh-lite.service
agent=kmesh-lite-agent.service
config=/etc/kmesh/mesh.toml
deb=/in/packages/current.deb
newer_deb=/in/packages/newer.deb
rpm=/in/packages/current.rpm
newer_rpm=/in/packages/newer.rpm

say() { echo "--- $*"; }

# What was measured, for whoever runs the tests.
report() { echo "$*" | tee -a /out/figures; }

fail() {
    echo "FAILED: $*"
    return 1
}

# Ends the scenario: this guest lacks something that it is about. Say what, and how to have it.
skip() {
    echo "SKIPPED: $*"
    exit 77
}

# is GOT EXPECTED
is() { [[ $1 == "$2" ]] || fail "got \`$1\`, expected \`$2\`"; }

# has TEXT PART
has() { [[ $1 == *"$2"* ]] || fail "expected \`$2\` in: $1"; }

lacks() { [[ $1 != *"$2"* ]] || fail "did not expect \`$2\` in: $1"; }

# exits CODE COMMAND...: what it printed is in $output afterwards.
exits() {
    local expected=$1 code=0
    shift
    output=$("$@" 2>&1) || code=$?
    [[ $code == "$expected" ]] || fail "\`$*\` exited with $code, expected $expected: $output"
}

# Waits until COMMAND succeeds; gives up after PATIENCE seconds.
until_true() {
    local patience=${PATIENCE:-20} end
    end=$((SECONDS + patience))
    until "$@" >/dev/null 2>&1; do
        [[ $SECONDS -lt $end ]] || { fail "in $patience s this did not come true: $*"; return 1; }
        sleep 0.05
    done
}

# Writes the mesh of stdin as an editor would.
mesh() {
    cat >"$config.new"
    mv "$config.new" "$config"
}

# web PORT [LINE]: the mesh is one service at 10.96.0.10:80, which is this port of 127.0.0.1; and LINE.
web() {
    mesh <<EOF
[services.web]
vips = ["10.96.0.10"]
ports = ["80:$1"]
endpoints = ["127.0.0.1"]
${2:-}
EOF
}

# serve NAME PORT: a server on 127.0.0.1 that says its name to whoever connects.
serve() {
    systemd-run --quiet --unit="server-$1" --service-type=notify --property=NotifyAccess=all \
        /in/act server "$1" "$2"
}

# ask ADDRESS PORT: what a server there says. Fails with the reason if the connect fails.
ask() { timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1" && cat <&3' "$1" "$2"; }

# scrape ADDRESS: what the agent serves there. Fails unless it has metrics.
scrape() { timeout 5 python3 -c 'import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1]).read().decode())' "http://$1/metrics"; }

agent_pid() { systemctl show --value --property=MainPID "$agent"; }
main_pid() { systemctl show --value --property=MainPID "$unit"; }
state() { systemctl show --value --property=ActiveState "$unit"; }
status_text() { systemctl show --value --property=StatusText "$unit"; }

# Programs in the kernel that the daemon's user made: `connect4 12`, one a line. Others on this kernel
# may run kmesh-lite too, but not as this user.
programs() {
    bpftool --json prog show | python3 -c '
import json, pwd, sys
uid = pwd.getpwnam("kmesh").pw_uid
for program in json.load(sys.stdin):
    if program.get("uid") == uid and "jited" in program and program["type"].startswith(("cgroup_sock_addr", "sock_ops", "sk_msg")):
        print(program["name"], program["id"])' || true
}

# Ids of the maps that those programs use.
maps() {
    local ids
    ids=$(programs | awk '{ print $2 }')
    bpftool --json prog show | python3 -c '
import json, sys
ids = set(sys.argv[1].split())
print(*sorted({m for p in json.load(sys.stdin) if str(p["id"]) in ids for m in p.get("map_ids", [])}))' "$ids"
}

# The kernel lets go of programs and maps after a grace period.
nothing_left() { [[ -z $(programs) ]] && for map in $1; do ! bpftool map show id "$map" >/dev/null 2>&1 || return 1; done; }

# A guest on which kmesh-lite was never installed.
fresh() {
    systemctl stop 'server-*' 2>/dev/null || true
    rpm --quiet -q kmesh-lite && rpm -e kmesh-lite >/dev/null 2>&1
    dpkg --purge kmesh-lite >/dev/null 2>&1
    if command -v resolvectl >/dev/null; then
        dpkg --purge systemd-resolved libnss-resolve dnsmasq-base >/dev/null 2>&1
        rm -rf /etc/systemd/resolved.conf.d
        ip link delete outside 2>/dev/null || true
    fi
    rm -rf /etc/kmesh "/etc/systemd/system/$unit.d" /etc/systemd/system-preset
    systemctl daemon-reload
    systemctl reset-failed 2>/dev/null || true
}

clean() {
    local code=$?
    [[ $code == 0 || $code == 77 ]] || { systemctl status --no-pager --full "$unit" || true; }
    fresh
    exit "$code"
}
