# The unit as it is installed: nothing that systemd complains about, hardened, and with pages to read.

dpkg -i "$deb"
exits 0 systemd-analyze verify "$unit"
is "$output" ""
exits 0 systemd-analyze security --no-pager "$unit"
score=$(sed -n 's/.*Overall exposure level for [^:]*: \([0-9.]*\).*/\1/p' <<<"$output")
echo "exposure: $score"
awk -v score="$score" 'BEGIN { exit !(score != "" && score <= 2.0) }' || fail "$output"

man --warnings kmesh-lite >/dev/null
man --warnings mesh.toml >/dev/null
bash -n /usr/share/bash-completion/completions/kmesh-lite

say "nothing stands in its way"
web 8081
systemctl reload "$unit"
exits 0 kmesh-lite doctor
echo "$output"
is "$(head -n 1 <<<"$output")" fine
has "$output" "fd_store"
is "$(kmesh-lite doctor --json | python3 -c 'import json, sys; print(*[c["name"] for c in json.load(sys.stdin)["checks"] if c["verdict"] != "fine"])')" ""

say "an operator's example for a waypoint whose server speaks first"
mkdir "/etc/systemd/system/$unit.d"
cp /usr/share/doc/kmesh-lite/examples-config/systemd/server-first.conf "/etc/systemd/system/$unit.d/"
systemctl daemon-reload
systemctl restart "$unit"
is "$(sed -n 's/^CapEff:\t//p' "/proc/$(main_pid)/status")" 000000c000081000
