# The life of the .rpm, with the real scriptlets: rpm itself runs here, and a stub provides what the
# distribution would.

[[ -e $rpm ]] || skip "no .rpm was built; \`make setup-test\` installs cargo-generate-rpm"

cat >/tmp/stub.spec <<'EOF'
Name: distribution
Version: 1
Release: 1
Summary: Names that a distribution provides
License: none
BuildArch: noarch
Provides: systemd = 252, /bin/sh, glibc = 2.34
%description
%files
EOF
rpm --quiet -q distribution || {
    rpmbuild --quiet -bb --define '_rpmdir /tmp' --define '_topdir /tmp/rpmbuild' /tmp/stub.spec
    rpm -i /tmp/noarch/distribution-1-1.noarch.rpm
}
presets=/etc/systemd/system-preset
mkdir -p $presets

say "a preset that says no"
echo 'disable kmesh-lite.service' >$presets/10-test.preset
rpm -i "$rpm"
is "$(systemctl is-enabled "$unit" || true)" disabled
getent passwd kmesh
is "$(rpm -V kmesh-lite)" ""
exits 0 kmesh-lite check
man --warnings kmesh-lite >/dev/null
rpm -e kmesh-lite
[[ ! -e /etc/kmesh && ! -e /var/log/kmesh-lite && ! -e /var/lib/kmesh-lite && ! -e /usr/share/doc/kmesh-lite ]]

say "a preset that says yes"
echo 'enable kmesh-lite.service' >$presets/10-test.preset
rpm -i "$rpm"
is "$(systemctl is-enabled "$unit")" enabled
systemctl start "$unit"
is "$(state)" active

say "an upgrade keeps an edited file and restarts"
serve one 8081
web 8081
systemctl reload "$unit"
edited=$(sha256sum "$config")
before=$(main_pid)
rpm -U "$newer_rpm"
is "$(sha256sum "$config")" "$edited"
is "$(state)" active
[[ $(main_pid) != "$before" ]] || fail "still process $before"
is "$(ask 10.96.0.10 80)" one

say "erasing stops it and keeps what was edited"
maps=$(maps)
[[ -n $maps ]]
rpm -e kmesh-lite
until_true nothing_left "$maps"
[[ ! -e $config && -e $config.rpmsave && ! -e /run/kmesh-lite ]]
