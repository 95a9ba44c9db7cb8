# systemd-resolved asks the agent for the names of the mesh, by whatever way it was asked itself, and for no other name.
# Foreign names resolve throughout: while both of our processes are killed, and when the package goes.

ls /opt/resolved/systemd-resolved_*.deb >/dev/null 2>&1 ||
    skip "this suite has no package systemd-resolved (Debian 12 and newer have one)"

# getaddrinfo() looks for no addresses of a family that only loopback has.
ip link add outside type veth peer name outside-peer
ip address add 198.51.100.1/24 dev outside
ip link set outside up
ip link set outside-peer up

# What the host asks for names of others, and writes down every question.
dpkg -i /opt/resolved/*.deb </dev/null
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
systemd-run --quiet --unit=server-upstream dnsmasq --keep-in-foreground --no-resolv --no-hosts --conf-file=/dev/null \
    --listen-address=127.0.0.9 --bind-interfaces --address=/example/192.0.2.7 --log-queries --log-facility=-
mkdir -p /etc/systemd/resolved.conf.d
printf '[Resolve]\nDNS=127.0.0.9\nCache=no\n' >/etc/systemd/resolved.conf.d/test.conf
systemctl restart systemd-resolved
foreign() { [[ $(getent ahostsv4 www.example | awk 'NR == 1 { print $1 }') == 192.0.2.7 ]]; }
until_true foreign

link=/sys/class/net/kmesh-names
named() { [[ $(resolvectl query --legend=no "$1" 2>&1) == *"$2"* ]]; }

questions() { journalctl --no-pager -o cat -u server-upstream | grep query; }

# names DOMAIN: the mesh has a service whose name is below it.
names() {
    mesh <<EOF
[dns]
listen = ["127.0.0.1:5354"]
domain = "$1"

[services.web]
vips = ["10.96.0.10"]
ports = ["80:8081"]
endpoints = ["127.0.0.1"]
EOF
}

dpkg -i "$deb" </dev/null
serve one 8081
[[ ! -e $link ]]
names mesh
systemctl reload "$unit"

say "over D-Bus, varlink, and the stub"
until_true named web.mesh 10.96.0.10
# Before the link was there, questions went where all others go.
asked=$(questions | wc -l)
has "$(resolvectl domain kmesh-names)" "~mesh"
is "$(getent -s hosts:resolve ahostsv4 web.mesh | awk 'NR == 1 { print $1 }')" 10.96.0.10
is "$(getent -s hosts:dns ahostsv4 web.mesh | awk 'NR == 1 { print $1 }')" 10.96.0.10
is "$(ask web.mesh 80)" one
is "$(curl --silent --http0.9 --max-time 5 http://web.mesh/)" one
exits 2 getent ahostsv4 absent.mesh
foreign

say "questions go where they belong"
asked=$(questions | tail -n "+$((asked + 1))")
has "$asked" "www.example"
lacks "$asked" mesh

say "it stays while our processes are killed, and foreign names resolve throughout"
begun=$SECONDS failed=
kill -KILL "$(main_pid)" "$(agent_pid)"
while [[ $SECONDS -lt $((begun + 3)) ]]; do foreign || failed=1; done
is "$failed" ""
until_true named web.mesh 10.96.0.10

say "a resolver that begins anew knows of it"
systemctl restart systemd-resolved
until_true named web.mesh 10.96.0.10
foreign

say "another domain"
names corp
systemctl reload "$unit"
until_true named web.corp 10.96.0.10
until_true eval '! named web.mesh 10.96.0.10'
foreign

say "no names any more"
web 8081
systemctl reload "$unit"
until_true test ! -e "$link"
names mesh
systemctl reload "$unit"
until_true named web.mesh 10.96.0.10

say "stopped, and started again"
systemctl stop "$unit"
until_true test ! -e "$link"
foreign
systemctl start "$unit"
until_true named web.mesh 10.96.0.10

say "removed"
dpkg --remove kmesh-lite
[[ ! -e $link ]]
foreign
