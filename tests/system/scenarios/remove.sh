# Removing stops the service and leaves nothing in the kernel; only a purge takes the file, and never
# the drop-ins of others.

dpkg -i "$deb"
serve one 8081
web 8081
systemctl reload "$unit"
is "$(ask 10.96.0.10 80)" one
edited=$(sha256sum "$config")
maps=$(maps)
[[ -n $maps ]]

say "remove"
dpkg --remove kmesh-lite
until_true nothing_left "$maps"
exits 1 ask 10.96.0.10 80
is "$(sha256sum "$config")" "$edited"
[[ ! -e /usr/bin/kmesh-lite && ! -e /run/kmesh-lite ]]
is "$(systemctl show --value --property=LoadState "$unit")" masked

say "installed again, it goes on with the file that was left"
dpkg -i "$deb" </dev/null
is "$(ask 10.96.0.10 80)" one

say "purge"
[[ -d /var/log/kmesh-lite ]]
mkdir /etc/kmesh/mesh.d
echo '# of another package' >/etc/kmesh/mesh.d/other.toml
dpkg --purge kmesh-lite
[[ ! -e $config && -e /etc/kmesh/mesh.d/other.toml && ! -e /var/log/kmesh-lite && ! -e /var/lib/kmesh-lite ]]
is "$(systemctl show --value --property=LoadState "$agent")" not-found
! pgrep -u kmesh-agent || fail "an agent is left"
is "$(find /etc/systemd /var/lib/systemd/deb-systemd-helper-* -name '*kmesh*')" ""

say "without drop-ins, nothing of /etc/kmesh"
rm -r /etc/kmesh
dpkg -i "$deb"
dpkg --purge kmesh-lite
[[ ! -e /etc/kmesh ]]
