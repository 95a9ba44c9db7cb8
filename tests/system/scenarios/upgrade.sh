# An upgrade keeps an edited file, restarts the daemon once, and asks nothing.

dpkg -i "$deb"
serve one 8081
web 8081
systemctl reload "$unit"
edited=$(sha256sum "$config")
before=$(main_pid)
agent_before=$(agent_pid)

say "to a newer version"
dpkg -i "$newer_deb" </dev/null
is "$(dpkg-query -W -f '${db:Status-Status}' kmesh-lite)" installed
is "$(sha256sum "$config")" "$edited"
is "$(state)" active
after=$(main_pid)
[[ $after != "$before" ]] || fail "still process $before"
is "$(systemctl show --value --property=NRestarts "$unit")" 0
is "$(ask 10.96.0.10 80)" one
exits 0 kmesh-lite --version
is "$(systemctl is-active "$agent")" active
[[ $(agent_pid) != "$agent_before" ]] || fail "the agent is still process $agent_before"
is "$(systemctl show --value --property=NRestarts "$agent")" 0

say "the same again"
dpkg -i "$newer_deb" </dev/null
is "$(sha256sum "$config")" "$edited"
is "$(ask 10.96.0.10 80)" one

say "back to the older one"
dpkg -i "$deb" </dev/null
is "$(ask 10.96.0.10 80)" one

say "what the operator stopped and disabled stays so"
systemctl disable --now "$unit"
dpkg -i "$newer_deb" </dev/null
is "$(systemctl is-enabled "$unit" || true)" disabled
is "$(systemctl is-enabled "$agent" || true)" disabled
is "$(systemctl is-active "$agent" || true)" inactive
