if [ "$1" = 0 ]; then
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now kmesh-lite.service kmesh-lite-agent.service \
            kmesh-lite-resolved.path kmesh-lite-resolved.service >/dev/null 2>&1 || :
    else
        systemctl --no-reload disable kmesh-lite.service kmesh-lite-agent.service \
            kmesh-lite-resolved.path kmesh-lite-resolved.service >/dev/null 2>&1 || :
    fi
    /usr/lib/kmesh-lite/split-zone forget >/dev/null 2>&1 || :
fi
