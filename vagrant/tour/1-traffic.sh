#!/usr/bin/env bash
# Where connects go, and why.
. "$(dirname "$0")/words.sh"
find_machines

say "\`near\` is served by the rack that the caller is in. The program only knows 10.96.0.10."
asks client near 4
shows "4 client in rack-a"
asks server near 4
shows "4 server in rack-b"

say "\`shared\` takes every endpoint as often as the other, over the network or not."
asks client shared 20
shows "client in rack-a"
shows "server in rack-b"

say "\`checked\` goes through HAProxy on client, which takes turns. Programs on server get there too."
asks client checked 4
shows "2 client in rack-a"
shows "2 server in rack-b"
asks server checked 4
shows "2 client in rack-a"
shows "2 server in rack-b"

say "HAProxy learned from the header who asked, and for what."
on client "sudo journalctl -u haproxy -o cat | grep client=192.168.56.20 | tail -n 1"
shows "asked=10.96.0.30:80"

say "Why? The kernel's own decision, step by step."
on client "sudo kmesh-lite explain 10.96.0.10:80"
succeeds
shows "192.168.56.10:8080"
on client "sudo kmesh-lite explain 10.96.0.30:80"
succeeds
shows "192.168.56.10:15008"

say "A port that nobody declared is refused at once."
on client "curl -sS -m 10 http://10.96.0.10:81/"
fails
on client "sudo kmesh-lite status | grep 'refuse undeclared port'"
succeeds
