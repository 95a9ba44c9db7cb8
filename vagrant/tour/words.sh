# The words that the steps of the tour are written in. Sourced by them.
#
# A step runs what it shows, and fails where something is not as it says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# One connection per machine for a whole step.
session=$(mktemp -d)
reach() { ssh -F "$session/config" -n -o "ControlPath=$session/%n" "$@"; }
leave_machines() {
    local socket
    for socket in "$session/"{client,server}; do
        [[ ! -S $socket ]] || reach -O exit "${socket##*/}" 2>/dev/null || true
    done
}
find_machines() {
    leave_machines
    vagrant ssh-config >"$session/config"
}
trap 'leave_machines; rm -rf "$session"' EXIT
trap 'exit 130' INT TERM

say() { printf '\n# %s\n' "$*"; }
fail() { printf 'NOT AS EXPECTED: %s\n' "$*" >&2; exit 1; }

# on HOST COMMAND: shows the command, runs it there, shows its output and keeps it in $output, and how it
# ended in $ended.
on() {
    printf '%s$ %s\n' "$1" "$2"
    ended=0
    output=$(reach -o ControlMaster=auto -o ControlPersist=300 "$1" "$2" 2>&1) || ended=$?
    [[ -z $output ]] || printf '%s\n' "$output"
}

# What has to be so after `on`.
succeeds() { [[ $ended == 0 ]] || fail "the command failed ($ended)"; }
fails() { [[ $ended != 0 ]] || fail "the command succeeded"; }
shows() { [[ $output == *"$1"* ]] || fail "the output has no \`$1\`"; }
shows_no() { [[ $output != *"$1"* ]] || fail "the output has \`$1\`"; }

# asks HOST SERVICE TIMES [SECONDS]: that many connects to the service's virtual address, one after the other,
# each given up after SECONDS (20).
declare -A vip=([near]=10.96.0.10 [shared]=10.96.0.20 [checked]=10.96.0.30)
asks() {
    on "$1" "for i in \$(seq $3); do curl -sS -m ${4:-20} http://${vip[$2]}/ || true; done 2>&1 | sort | uniq -c"
}

# The file of the tour on a host, as it was in the beginning.
restore() { on "$1" "sudo cp /usr/local/lib/tour/mesh.toml /etc/kmesh/mesh.toml && sudo systemctl reload kmesh-lite"; succeeds; }
