# A waypoint that is a unit of this host: its own connections go past it, also after a restart, when its
# cgroup is another one.

dpkg -i "$deb"
serve one 8081
mesh <<'EOF'
[waypoints.edge]
address = "127.0.0.1:15008"
header = "tlv"
unit = "server-edge.service"

[services.far]
vips = ["10.96.0.11"]
ports = ["80:8081"]
waypoint = "edge"
endpoints = ["127.0.0.1"]
EOF
printf '[Service]\nExecStart=/usr/bin/kmesh-lite waypoint --listen 127.0.0.1:15008\n' \
    >/run/systemd/system/server-edge.service
systemctl daemon-reload
listens() { ss -Hltn sport = 15008 | grep -q .; }
# The client sends something, so that the header leaves.
through() {
    timeout 10 bash -c 'exec 3<>/dev/tcp/10.96.0.11/80 && echo hi >&3 && cat <&3'
}
known() { kmesh-lite status | grep -q 'server-edge.service.*/server-edge.service'; }
# How many connections the waypoint has had: one each, or it talks to itself.
relayed() {
    systemctl kill --signal=USR1 server-edge
    until_true counted
    journalctl --no-pager -o cat -u server-edge --since "$since" | grep -o 'accepted=[0-9]*' | tail -n 1
}
counted() { journalctl --no-pager -o cat -u server-edge --since "$since" | grep -q 'accepted='; }

systemctl reload "$unit"
for round in 1 2 3; do
    say "round $round"
    since=$(date '+%F %T.%6N')
    systemctl restart server-edge
    until_true listens
    until_true known
    for _ in 1 2 3 4 5; do is "$(through)" one; done
    is "$(relayed)" accepted=5
done

say "a waypoint that is down"
systemctl stop server-edge
exits 1 through
has "$output" "refused"
exits 0 kmesh-lite explain 10.96.0.11:80
has "$output" "127.0.0.1:15008"
