#!/usr/bin/env bash
# Makes a machine of the tour, as root in it: the package, a web server that says where it is, the mesh;
# on `client` HAProxy too. Can be run again. usage: provision.sh NAME ADDRESS RACK
set -euo pipefail
name=$1 address=$2 rack=$3
tour=/tmp/tour
export DEBIAN_FRONTEND=noninteractive

missing=()
for package in curl python3 haproxy; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if ((${#missing[@]})); then
    apt-get update -q
    apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

# Who serves: answers every request with the name of its host and rack.
install -D -m 644 "$tour/web.py" /usr/local/lib/tour/web.py
install -m 644 "$tour/web.service" /etc/systemd/system/web.service
printf 'WHERE=%s in %s\n' "$name" "$rack" >/etc/default/web
systemctl daemon-reload
systemctl enable --quiet web
systemctl restart web

# The proxy that is the waypoint of the mesh runs on one host; the other reaches it by the network.
if [[ $name == client ]]; then
    install -m 644 "$tour/haproxy.cfg" /etc/haproxy/haproxy.cfg
    systemctl enable --quiet haproxy
    systemctl restart haproxy
else
    systemctl disable --quiet --now haproxy
fi

# The same mesh on every host. What is of this host alone is a file of its own beside it.
dpkg --install --force-confold "$tour/kmesh-lite.deb"
install -d /etc/kmesh/mesh.d
printf '[node]\nlocality = "%s"\n' "$rack" >/etc/kmesh/mesh.d/node.toml
install -m 644 "$tour/mesh.toml" /etc/kmesh/mesh.toml
# The tour changes the file, and puts this one back.
install -m 644 "$tour/mesh.toml" /usr/local/lib/tour/mesh.toml
systemctl start kmesh-lite
systemctl reload kmesh-lite
systemctl is-active kmesh-lite
kmesh-lite status
