# `systemctl reload` applies a good file, and fails with what is wrong in a bad one, which changes nothing.

dpkg -i "$deb"
serve one 8081
serve two 8082
web 8081
systemctl reload "$unit"
is "$(ask 10.96.0.10 80)" one

say "a good file, applied when reload returns"
web 8082
systemctl reload "$unit"
is "$(ask 10.96.0.10 80)" two

say "a bad file"
web 8081 'polcy = "failover"'
since=$(date '+%F %T')
exits 1 systemctl reload "$unit"
is "$(ask 10.96.0.10 80)" two
log=$(journalctl --no-pager -o cat -u "$unit" --since "$since")
has "$log" 'unknown key `polcy`'
has "$log" "/etc/kmesh/mesh.toml:5:1"
has "$(systemctl status --no-pager --full "$unit" || true)" 'did you mean `policy`?'
has "$(status_text)" "$config has 1 error"
is "$(state)" active
exits 3 kmesh-lite reload
has "$output" 'unknown key `polcy`'
exits 3 kmesh-lite check

say "it starts with a bad file too, keeps what was there, and waits for a good one"
pid=$(main_pid)
systemctl restart "$unit"
is "$(state)" active
[[ $(main_pid) != "$pid" ]]
is "$(ask 10.96.0.10 80)" two
web 8081
to_one() { [[ $(ask 10.96.0.10 80) == one ]]; }
until_true to_one

say "the same where nothing was there"
systemctl stop "$unit"
web 8082 'polcy = "failover"'
systemctl start "$unit"
is "$(state)" active
exits 1 ask 10.96.0.10 80
web 8082
to_two() { [[ $(ask 10.96.0.10 80) == two ]]; }
until_true to_two

say "drop-ins, from a folder that appears"
mkdir /etc/kmesh/mesh.d
cat >/etc/kmesh/mesh.d/mail.toml <<'EOF'
[services.mail]
vips = ["10.96.0.25"]
ports = ["25:8082"]
endpoints = ["127.0.0.1"]
EOF
systemctl reload "$unit"
is "$(ask 10.96.0.25 25)" two
rm /etc/kmesh/mesh.d/mail.toml
systemctl reload "$unit"
exits 0 kmesh-lite status
lacks "$output" mail

say "members of the group may look, and not reload"
useradd --system --groups kmesh watcher 2>/dev/null || true
exits 0 setpriv --reuid=watcher --regid=watcher --init-groups kmesh-lite status
exits 1 setpriv --reuid=watcher --regid=watcher --init-groups kmesh-lite reload
exits 1 setpriv --reuid=nobody --regid=nogroup --clear-groups kmesh-lite status
has "$output" 'in the group `kmesh`'
