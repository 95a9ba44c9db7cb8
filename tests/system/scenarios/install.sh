# A first installation enables and starts the service, which routes nothing and is ready; a mesh is
# followed as soon as it is saved; a stop leaves nothing in the kernel.

dpkg -i "$deb"
is "$(state)" active
is "$(systemctl is-enabled "$unit")" enabled
has "$(status_text)" "has no services"
exits 0 kmesh-lite status

say "the kernel follows the file"
serve one 8081
mesh <<'EOF'
[services.web]
vips = ["10.96.0.10", "fd00:96::10"]
ports = ["80:8081"]
endpoints = ["127.0.0.1"]
EOF
until_true ask 10.96.0.10 80
is "$(ask 10.96.0.10 80)" one
is "$(ask fd00:96::10 80)" one
exits 1 ask 10.96.0.10 81
has "$output" "Connection refused"
exits 0 kmesh-lite explain 10.96.0.10:80

say "as its own user, with three capabilities"
pid=$(main_pid)
is "$(ps -o user= -p "$pid" | tr -d ' ')" kmesh
is "$(sed -n 's/^CapEff:\t//p' "/proc/$pid/status")" 000000c000001000
is "$(sed -n 's/^CapBnd:\t//p' "/proc/$pid/status")" 000000c000001000

say "the agent serves metrics, as another user, without any capability"
is "$(systemctl is-active "$agent")" active
is "$(systemctl is-enabled "$agent")" enabled
mkdir -p /etc/kmesh/mesh.d
printf '[metrics]\nlisten = "127.0.0.1:9900"\n' >/etc/kmesh/mesh.d/metrics.toml
until_true scrape 127.0.0.1:9900
has "$(scrape 127.0.0.1:9900)" 'kmesh_lite_service_connects_total{service="web"}'
pid=$(agent_pid)
is "$(ps -o user= -p "$pid" | tr -d ' ')" kmesh-agent
is "$(sed -n 's/^CapEff:\t//p' "/proc/$pid/status")" 0000000000000400
is "$(sed -n 's/^CapAmb:\t//p' "/proc/$pid/status")" 0000000000000000
is "$(sed -n 's/^CapBnd:\t//p' "/proc/$pid/status")" 0000000000000400
until_true eval 'kmesh-lite status --json | grep -q "\"serving\": *true"'
exits 0 systemd-analyze verify "$agent"
is "$output" ""
exits 0 systemd-analyze security --no-pager "$agent"
score=$(sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p' <<<"$output")
awk -v score="$score" 'BEGIN { exit !(score != "" && score <= 1.5) }' || fail "$output"
report "agent: exposure $score, $(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status") kB resident"

say "it is restarted on its own, and stops with the daemon"
kill -KILL "$pid"
until_true eval '[[ $(agent_pid) != 0 && $(agent_pid) != '"$pid"' ]] && scrape 127.0.0.1:9900'

say "nothing is left after a stop"
has "$(programs)" connect4
maps=$(maps)
[[ -n $maps ]]
systemctl stop "$unit"
until_true nothing_left "$maps"
exits 1 ask 10.96.0.10 80
[[ ! -e /run/kmesh-lite ]]
is "$(systemctl is-active "$agent" || true)" inactive
exits 1 scrape 127.0.0.1:9900
