# The users stay: their numbers must not be given to others.
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ "$1" != 0 ]; then
        # After an upgrade. What is in the kernel is kept meanwhile, so no connection notices.
        systemctl try-restart kmesh-lite.service || :
    fi
fi
if [ "$1" = 0 ]; then
    # Folders are not in the package; what others put there stays, and so does an access log.
    for folder in /etc/kmesh /var/log/kmesh-lite /var/lib/kmesh-lite /usr/share/doc/kmesh-lite /usr/share/licenses/kmesh-lite; do
        find "$folder" -depth -type d -empty -delete 2>/dev/null || :
    done
fi
