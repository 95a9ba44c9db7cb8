#!/usr/bin/env bash
# The mesh changes when its file is saved.
. "$(dirname "$0")/words.sh"
find_machines

say "Before: client serves itself. Then its own endpoint is drained, which is one save."
asks client near 2
shows "2 client in rack-a"
on client "sudo sed -i '/^\[endpoints.client\]/a weight = 0' /etc/kmesh/mesh.toml && kmesh-lite check /etc/kmesh/mesh.toml"
succeeds

say "The daemon follows by itself. A reload only waits until it has."
on client "sudo systemctl reload kmesh-lite"
succeeds

say "No endpoint is left in rack-a, so \`near\` fails over to the next nearest rack."
asks client near 4
shows "4 server in rack-b"
asks client shared 4
shows "4 server in rack-b"

say "A file with a mistake changes nothing: the reload fails and says why, the last good state goes on."
on client "echo 'polcy = \"random\"' | sudo tee -a /etc/kmesh/mesh.toml && sudo systemctl reload kmesh-lite"
fails
on client "sudo kmesh-lite status | head -n 12"
shows "keeping the last good state"
asks client near 4
shows "4 server in rack-b"

say "The old file is put back, and client is served by itself again."
restore client
asks client near 4
shows "4 client in rack-a"
