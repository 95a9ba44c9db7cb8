# Without a running systemd the user is made all the same.
systemd-sysusers kmesh-lite.conf || :
if [ "$1" = 1 ]; then
    # Whether it is enabled is for the distribution's presets to say.
    systemctl --no-reload preset kmesh-lite.service >/dev/null 2>&1 || :
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi
