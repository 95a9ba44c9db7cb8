#!/usr/bin/env bash
# A machine halts. The mesh has no health checks: what that means, and what helps.
. "$(dirname "$0")/words.sh"
find_machines

# Waits until HAProxy's health checks say so about a server.
checks_say() {
    on client "for i in \$(seq 300); do curl -sS 'http://127.0.0.1:8404/;csv' | cut -d, -f 1,2,18 | grep '^checked,$1,$2' && exit; sleep 0.5; done; exit 1"
    succeeds
}

say "Before: \`shared\` and \`checked\` are served by both machines."
asks client shared 20
shows "server in rack-b"
asks client checked 4
shows "2 server in rack-b"

say "The machine server halts."
echo "\$ vagrant halt server"
vagrant halt server

say "\`near\` has an endpoint in this rack: nothing happens to it."
asks client near 4
shows "4 client in rack-a"

say "\`shared\` still takes the endpoint on server as often as the other one, and those connects fail."
asks client shared 16 4
shows "client in rack-a"
shows "curl: ("

say "\`checked\` heals by itself: HAProxy finds out, and all go to client. Nobody changed the mesh."
checks_say server DOWN
asks client checked 6
shows "6 client in rack-a"
shows_no "curl: ("

say "\`shared\` is one save away: weight 0 for the endpoint on server."
on client "sudo sed -i '/^\[endpoints.server\]/a weight = 0' /etc/kmesh/mesh.toml && sudo systemctl reload kmesh-lite"
succeeds
asks client shared 10
shows "10 client in rack-a"

say "server comes back; its mesh comes with it, from its own file."
echo "\$ vagrant up server"
vagrant up server
find_machines
on server "systemctl is-active kmesh-lite"
shows "active"
asks server near 2
shows "2 server in rack-b"

say "HAProxy finds that out too. For \`shared\` the old file is put back."
checks_say server UP
asks client checked 4
shows "2 server in rack-b"
restore client
asks client shared 20
shows "client in rack-a"
shows "server in rack-b"
shows_no "curl: ("
