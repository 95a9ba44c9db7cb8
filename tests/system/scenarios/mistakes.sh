# What nobody can have meant changes nothing, through restarts as well; and a captured unit is routed at once.

dpkg -i "$deb"
has "$(status_text)" "$config has no services"
serve one 8081
web 8081
systemctl reload "$unit"
is "$(ask 10.96.0.10 80)" one

say "a file that was emptied"
since=$(date '+%F %T')
mesh </dev/null
exits 1 systemctl reload "$unit"
has "$(journalctl --no-pager -o cat -u "$unit" --since "$since")" "takes every service away"
has "$(status_text)" "allow_empty"
exits 3 kmesh-lite plan
has "$output" "takes every service away"
is "$(ask 10.96.0.10 80)" one
systemctl restart "$unit"
is "$(ask 10.96.0.10 80)" one
has "$(status_text)" "keeping the last good state"
exits 1 kmesh-lite status --exit-code

say "a main file that went while drop-ins are there"
mkdir /etc/kmesh/mesh.d
cat >/etc/kmesh/mesh.d/mail.toml <<'EOF'
[services.mail]
vips = ["10.96.0.25"]
ports = ["25:8081"]
endpoints = ["127.0.0.1"]
EOF
web 8081
systemctl reload "$unit"
rm "$config"
pid=$(main_pid)
kill -9 "$pid"
is_back() { [[ $(main_pid) != "$pid" && $(state) == active ]]; }
until_true is_back
has "$(status_text)" "keeping the last good state"
is "$(ask 10.96.0.10 80)" one
is "$(ask 10.96.0.25 25)" one
rm -r /etc/kmesh/mesh.d

say "an empty mesh that is meant"
mesh <<<'mesh.allow_empty = true'
systemctl reload "$unit"
exits 1 ask 10.96.0.10 80
exits 0 kmesh-lite status
has "$output" "has no services"

say "a captured unit, each time it starts: the timer is half a minute"
mesh <<'EOF'
[capture]
cgroups = ["app.service", "absent.service"]

[services.web]
vips = ["10.96.0.10"]
ports = ["80:8081"]
endpoints = ["127.0.0.1"]
EOF
systemctl reload "$unit"
has "$(status_text)" "waiting for cgroup absent.service, app.service"
exits 2 kmesh-lite status --exit-code
for _ in 1 2 3; do
    exits 0 systemd-run --quiet --pipe --wait --unit=app bash -c \
        'for _ in {1..100}; do exec 3<>/dev/tcp/10.96.0.10/80 && exec cat <&3; sleep 0.05; done 2>/dev/null; exit 1'
    is "$output" one
done
exits 1 ask 10.96.0.10 80
exits 0 kmesh-lite explain 10.96.0.10:80 --pid $$
has "$output" "is not captured"
