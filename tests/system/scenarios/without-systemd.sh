# Where systemd does not run, as in a chroot or a container image, the package installs and goes.

without() { unshare --mount sh -ec 'mount -t tmpfs none /run/systemd; exec "$@"' sh "$@"; }
without dpkg -i "$deb"
is "$(dpkg-query -W -f '${db:Status-Status}' kmesh-lite)" installed
is "$(systemctl is-enabled "$unit")" enabled
is "$(state)" inactive
getent passwd kmesh
without dpkg -i "$newer_deb"
without dpkg --purge kmesh-lite
exits 1 dpkg-query -W kmesh-lite
