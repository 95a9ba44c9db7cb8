# Whatever happens to the daemon, no connect fails: at least 200 a second, of both families, with and
# without a waypoint, through every way a daemon can go and come back. The connection table has what is open,
# from the moment it was opened, and nothing else.

dpkg -i "$deb"
serve one 8081
systemd-run --quiet --unit=server-waypoint --service-type=notify --property=NotifyAccess=all \
    /in/act waypoint 15008
mesh <<'EOF'
[waypoints.edge]
address = "127.0.0.1:15008"
header = "proxy-v2"

[services.web]
vips = ["10.96.0.10", "fd00:96::10"]
ports = ["80:8081"]
endpoints = ["127.0.0.1"]

[services.far]
vips = ["10.96.0.11", "fd00:96::11"]
ports = ["80:8081"]
waypoint = "edge"
endpoints = ["127.0.0.1"]
EOF
systemctl reload "$unit"

# Connections that stay open meanwhile.
mkfifo /run/holder.in /run/holder.out
python3 /in/holder.py </run/holder.in >/run/holder.out &
exec 8>/run/holder.in 9</run/holder.out

# holder ANSWER COMMAND: to the program that holds them.
holder() {
    local answer
    echo "$2" >&8
    read -r answer <&9
    is "$answer" "$1"
}

holder open "open web4 10.96.0.10"
holder open "open web6 fd00:96::10"
holder open "open far4 10.96.0.11"
holder open "open brief 10.96.0.10"
holder "fine 4" check

# Another connection takes the place of one that is open.
brief() {
    holder closed "close brief"
    holder open "open brief fd00:96::10"
}

# under_fire WHAT COMMAND...: nothing may fail while COMMAND is done, nor after it.
under_fire() {
    local what=$1 outcome
    shift
    /in/act fire 10.96.0.10,80,one fd00:96::10,80,one \
        "10.96.0.11,80,10.96.0.11 80 hi,hi" "fd00:96::11,80,fd00:96::11 80 hi,hi" >/run/fire &
    local fire=$!
    until_true grep -q begun /run/fire
    "$@"
    until_true daemon_answers
    holder "fine 4" check
    sleep 1 # More of it after the last change.
    kill "$fire"
    wait "$fire"
    outcome=$(tail -n 1 /run/fire)
    report "$what: $outcome"
    [[ $outcome == *" failed 0 "* ]] || fail "$what: $(cat /run/fire)"
    [[ ${outcome##* } -ge ${MIN_RATE:-200} ]] || fail "$what: too few connects to tell: $outcome"
}

daemon_answers() { [[ $(state) == active ]] && kmesh-lite status | grep -q '^routing 2 services'; }

# A new process, by another way than systemctl: READY comes from it and not from the one before.
replaced() { [[ $(main_pid) != "$1" && $(main_pid) != 0 ]]; }

killed() {
    local pid
    pid=$(main_pid)
    kill "-$1" "$pid"
    brief
    until_true replaced "$pid"
}

stopped_for() {
    local pid
    pid=$(main_pid)
    kill -STOP "$pid"
    brief
    sleep "$1"
    kill -CONT "$pid"
    is "$(main_pid)" "$pid"
}

# A daemon that neither works nor ends, until the watchdog finds out.
hangs() {
    local pid
    pid=$(main_pid)
    kill -STOP "$pid"
    until_true replaced "$pid"
}

configured() {
    mkdir -p "/etc/systemd/system/$unit.d"
    printf '[Service]\n%s\n' "$1" >"/etc/systemd/system/$unit.d/test.conf"
    systemctl daemon-reload
}

# Binaries of tests can be told to be of another layout.
layout() { configured "Environment=KMESH_LITE_LAYOUT=$1"; }

upgraded() { dpkg -i "$1" </dev/null >/dev/null 2>&1; }

upgraded_to_layout() {
    layout "$1"
    upgraded "$2"
}

under_fire "systemctl restart" systemctl restart "$unit"
is "$(kmesh-lite status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["last_pass"]["operations"])')" 0
under_fire "kill -9" killed KILL
under_fire "kill -ABRT" killed ABRT
configured "WatchdogSec=${WATCHDOG:-2s}"
systemctl restart "$unit"
under_fire "watchdog" hangs
configured "WatchdogSec=10min"
systemctl restart "$unit"
under_fire "stopped for ${STOPPED:-10} s" stopped_for "${STOPPED:-10}"
rm "/etc/systemd/system/$unit.d/test.conf"
systemctl daemon-reload
under_fire "upgrade, same layout" upgraded "$newer_deb"
under_fire "downgrade, same layout" upgraded "$deb"
under_fire "upgrade, other layout" upgraded_to_layout 91 "$newer_deb"
under_fire "downgrade, other layout" upgraded_to_layout 90 "$deb"
rm "/etc/systemd/system/$unit.d/test.conf"
systemctl daemon-reload
under_fire "restart, own layout" systemctl restart "$unit"

say "a file that is broken while the daemon is away"
good=$(cat "$config")
broken() {
    local pid
    pid=$(main_pid)
    echo 'polcy = 1' >>"$config"
    kill -KILL "$pid"
    until_true replaced "$pid"
    until_true keeps
    mesh <<<"$good"
}
keeps() { [[ $(status_text) == "keeping the last good state"* ]]; }
under_fire "killed, then a bad file" broken

say "without the daemon, root can still ask"
configured "RestartSec=1h"
systemctl restart "$unit"
kill -KILL "$(main_pid)"
waits() { [[ $(systemctl show --value --property=SubState "$unit") == auto-restart ]]; }
until_true waits
exits 1 kmesh-lite status
has "$output" "the daemon is not running; the kernel goes on with 2 services"
exits 0 kmesh-lite explain 10.96.0.10:80
holder "fine 4" check
holder closed "close brief"
holder "fine 3" check
rm "/etc/systemd/system/$unit.d/test.conf"
systemctl daemon-reload
systemctl restart "$unit"

until_true daemon_answers
holder "fine 3" check

say "what was open all the time ends"
for name in web4 web6 far4; do holder closed "close $name"; done
holder "fine 0" check
exec 8>&- 9<&-
rm /run/holder.in /run/holder.out /run/fire

say "stopped: nothing is left"
maps=$(maps)
[[ -n $maps ]]
systemctl stop "$unit"
until_true nothing_left "$maps"
exits 1 ask 10.96.0.10 80
