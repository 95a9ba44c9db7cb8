if [ "$1" = 0 ]; then
    if [ -d /run/systemd/system ]; then
        systemctl --no-reload disable --now kmesh-lite.service kmesh-lite-agent.service >/dev/null 2>&1 || :
    else
        systemctl --no-reload disable kmesh-lite.service kmesh-lite-agent.service >/dev/null 2>&1 || :
    fi
fi
