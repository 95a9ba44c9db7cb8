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

say "an access log in its folder, for its group"
log=/var/log/kmesh-lite/access.json
web 8081
cat >>"$config" <<EOF
[access_log]
to = "$log"
EOF
systemctl reload "$unit"
exits 1 ask 10.96.0.10 80
until_true grep -q '"outcome":"refused"' "$log"
is "$(stat -c '%U %a' "$log")" "kmesh 640"
mv "$log" "$log.1"
systemctl reload "$unit"
exits 1 ask 10.96.0.10 80
until_true grep -q '"outcome":"refused"' "$log"

say "an access log in the journal, with a field for each fact"
sed -i 's|^to = .*|to = "journal"|' "$config"
systemctl reload "$unit"
exits 1 ask 10.96.0.10 80
until_true bash -c 'journalctl --quiet -t kmesh-lite-access KMESH_SERVICE=web KMESH_OUTCOME=refused | grep -q 10.96.0.10:80'

say "an operator's example for a waypoint whose server speaks first"
mkdir "/etc/systemd/system/$unit.d"
cp /usr/share/doc/kmesh-lite/examples-config/systemd/server-first.conf "/etc/systemd/system/$unit.d/"
systemctl daemon-reload
systemctl restart "$unit"
is "$(sed -n 's/^CapEff:\t//p' "/proc/$(main_pid)/status")" 000000c000081000
