#!/usr/bin/env bash
# A machine halts, and comes back. Nobody tells the mesh.
. "$(dirname "$0")/words.sh"
find_machines

# Waits until HAProxy's health checks say so about a server.
checks_say() {
    on client "for i in \$(seq 300); do curl -sS 'http://127.0.0.1:8404/;csv' | cut -d, -f 1,2,18 | grep '^checked,$1,$2' && exit; sleep 0.5; done; exit 1"
    succeeds
}

# Waits until probes of `shared` say so about the endpoint on server.
probes_say() {
    on client "for i in \$(seq 300); do sudo kmesh-lite status shared | grep '192.168.56.20.* $1' && exit; sleep 0.5; done; exit 1"
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

say "\`shared\` is probed: after a few seconds no connect goes to server any more, and status says why."
probes_say unhealthy
asks client shared 10
shows "10 client in rack-a"
shows_no "curl: ("

say "\`checked\` heals as well: HAProxy finds out, and all go to client. Nobody changed the mesh."
checks_say server DOWN
asks client checked 6
shows "6 client in rack-a"
shows_no "curl: ("

say "server comes back; its mesh comes with it, from its own file."
echo "\$ vagrant up server"
vagrant up server
find_machines
on server "systemctl is-active kmesh-lite"
shows "active"
asks server near 2
shows "2 server in rack-b"

say "HAProxy finds that out, and so do the probes: \`shared\` is served by both machines again."
checks_say server UP
asks client checked 4
shows "2 server in rack-b"
probes_say healthy
asks client shared 20
shows "client in rack-a"
shows "server in rack-b"
shows_no "curl: ("
