# Restart, crash, kill and upgrade of the daemon: no connect fails, none reaches the wrong place, and the
# daemon goes on where it was. A stop is the end.

dpkg -i "$deb"
serve one 8081
web() {
    printf '[services.web]\nvips = ["10.96.0.10"]\nports = ["80:%s"]\nendpoints = ["127.0.0.1"]\n' "$1"
}
web 8081 | mesh
systemctl reload "$unit"
back() { [[ $(main_pid) != 0 && $(main_pid) != "$before" && $(state) == active ]]; }

for how in 'systemctl restart kmesh-lite' 'kill -KILL $(main_pid)' 'kill -ABRT $(main_pid)' 'dpkg -i "$newer_deb"' 'dpkg -i "$deb"'; do
    say "$how"
    knock 10.96.0.10 80 one
    before=$(main_pid)
    eval "$how"
    until_true back
    nobody_noticed
done

say "the mesh is followed as before"
serve two 8082
web 8082 | mesh
systemctl reload "$unit"
is "$(ask 10.96.0.10 80)" two

say "a stop is the end"
maps=$(maps)
[[ -n $maps ]]
systemctl stop "$unit"
until_true nothing_left "$maps"
exits 1 ask 10.96.0.10 80
