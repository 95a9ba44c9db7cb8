#!/usr/bin/env bash
# A restart and a crash of the daemon: nobody notices.
. "$(dirname "$0")/words.sh"
find_machines

say "Somebody connects to \`shared\` all the time."
on client "sudo systemctl stop tour-connects 2>/dev/null; sudo rm -f /tmp/connects; sudo systemd-run --quiet --unit tour-connects --collect sh -c 'while :; do curl -sS -m 20 -o /dev/null http://10.96.0.20/ && echo fine || echo failed; done >/tmp/connects 2>&1' && until grep -q fine /tmp/connects; do sleep 0.2; done"
succeeds
on client "systemctl show -p MainPID --value kmesh-lite"
first=$output

say "The daemon is restarted. The kernel goes on meanwhile, the new one takes over."
on client "sudo systemctl restart kmesh-lite && systemctl show -p MainPID --value kmesh-lite"
succeeds
second=$output
[[ $second != "$first" ]] || fail "it is the same process"

say "It is killed. systemd starts it again."
on client "before=\$(wc -l </tmp/connects); sudo kill -9 $second; until pid=\$(systemctl show -p MainPID --value kmesh-lite); [ \$pid != 0 ] && [ \$pid != $second ] && systemctl is-active --quiet kmesh-lite; do sleep 0.2; done; echo \$((\$(wc -l </tmp/connects) - before)) connects until the next one was ready"
succeeds
[[ $output != "0 connects"* ]] || fail "nobody connected in that time"

say "Every connect succeeded."
on client "sudo systemctl stop tour-connects; sort /tmp/connects | uniq -c"
shows "fine"
shows_no "failed"
shows_no "curl:"

say "A stop takes everything out of the kernel: the virtual address leads nowhere. A start brings it back."
on client "sudo systemctl stop kmesh-lite; curl -sS -m 10 http://10.96.0.20/"
fails
on client "sudo systemctl start kmesh-lite"
succeeds
asks client near 2
shows "2 client in rack-a"
