# A host that is in the way: a reason that can be read, and never a mesh that is half there.

dpkg -i "$deb"
serve one 8081
web 8081
systemctl reload "$unit"
is "$(ask 10.96.0.10 80)" one

configured() {
    mkdir -p "/etc/systemd/system/$unit.d"
    printf '[Service]\n%s\n' "$1" >"/etc/systemd/system/$unit.d/test.conf"
    systemctl daemon-reload
}

said() { journalctl --no-pager -o cat -u "$unit" --since "$since" | grep -qF -- "$1"; }

# Starts the service, which cannot work: it says TEXT, is tried again, and nothing of it is attached.
fails() {
    local what=$1 text=$2
    say "$what"
    systemctl stop "$unit"
    since=$(date '+%F %T')
    ! systemctl start "$unit" || fail "$what: it started"
    until_true said "$text" || fail "$what: $(journalctl --no-pager -o cat -u "$unit" --since "$since")"
    until_true nothing_left ""
    exits 1 ask 10.96.0.10 80
    # It is not given up on.
    has "activating active" "$(state)"
}

reaches_one() { [[ $(ask 10.96.0.10 80) == one ]]; }

recovers() {
    rm "/etc/systemd/system/$unit.d/test.conf"
    systemctl daemon-reload
    systemctl restart "$unit"
    is "$(ask 10.96.0.10 80)" one
}

say "a folder that the daemon may not read"
chmod 0700 /etc/kmesh
chown root:root /etc/kmesh
systemctl reset-failed "$unit" 2>/dev/null || true
systemctl restart "$unit"
is "$(state)" active
has "$(status_text)" "keeping the last good state"
is "$(ask 10.96.0.10 80)" one
systemctl stop "$unit"
systemctl start "$unit"
has "$(status_text)" "routing nothing yet"
exits 3 kmesh-lite reload
has "$output" "ermission denied"
chmod 0755 /etc/kmesh
systemctl reload "$unit"
is "$(ask 10.96.0.10 80)" one

configured 'CapabilityBoundingSet=
CapabilityBoundingSet=CAP_NET_ADMIN
AmbientCapabilities=
AmbientCapabilities=CAP_NET_ADMIN'
fails "capabilities that are missing" "missing CAP_BPF, CAP_PERFMON"
recovers

configured 'RuntimeDirectory=
ExecStart=
ExecStart=/usr/bin/kmesh-lite run --no-agent --socket /run/elsewhere/control.sock'
fails "a /run that cannot be written to" "cannot create the folder of the control socket, /run/elsewhere"
recovers

configured 'TemporaryFileSystem=/run/full:size=4k,nr_inodes=1,mode=0777
ExecStart=
ExecStart=/usr/bin/kmesh-lite run --no-agent --socket /run/full/a/control.sock'
say "a disk that is full keeps nothing from being routed"
systemctl stop "$unit"
since=$(date '+%F %T')
systemctl start "$unit"
until_true said "No space left on device"
is "$(ask 10.96.0.10 80)" one
recovers

say "a daemon that cannot start loses nothing that the one before had"
configured 'Environment=KMESH_LITE_CRASH_AT=1'
systemctl restart "$unit" || true
tried_again() { [[ $(systemctl show --value --property=NRestarts "$unit") -ge 2 ]]; }
until_true tried_again
is "$(ask 10.96.0.10 80)" one
recovers

say "a hook that another program has for itself"
systemctl stop "$unit"
systemd-run --quiet --unit=server-hook --service-type=notify --property=NotifyAccess=all \
    /in/act hold /sys/fs/cgroup
since=$(date '+%F %T')
! systemctl start "$unit" || fail "it started"
until_true said "another program holds this hook"
exits 1 kmesh-lite doctor
has "$output" "foreign"
exits 1 ask 10.96.0.10 80
# What is about sockets is kept while it is tried again: the program that no socket meets, of their map.
only_of_the_map() { [[ -z $(programs | grep -v '^push_header ') ]]; }
until_true only_of_the_map
systemctl stop "$unit"
until_true nothing_left ""
systemctl start --no-block "$unit"
systemctl stop server-hook
until_true reaches_one

say "a host without cgroup v2"
systemctl stop "$unit"
exits 1 unshare --mount sh -c 'umount --lazy --recursive /sys/fs/cgroup && kmesh-lite run --socket /run/x.sock'
has "$output" "cgroup v2 is not mounted"
