#!/usr/bin/env bash
# Runs programs that nobody here wrote against the mesh, and ends with a table of them.
# usage: run.sh FOLDER [TEST]
#
# FOLDER holds what `make setup-matrix` unpacked. It is laid below the machine's own files, in a mount namespace
# of these tests: what is installed comes first, and the machine stays as it is. TEST is a part of the names of
# tests.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [[ $1 == inside ]]; then
    folder=$2
    root=$folder/debian/root
    # Sockets of the machine's own servers are not there, nor are ours for others. What is written below the
    # folders that are laid over is kept in memory.
    mount -t tmpfs tmpfs /run
    if [[ -d $root ]]; then
        for place in usr etc var; do
            mkdir -p "/run/over/$place/"{upper,work}
            mount -t overlay overlay "/$place" \
                -o "lowerdir=/$place:$root/$place,upperdir=/run/over/$place/upper,workdir=/run/over/$place/work"
        done
        # Users that packages make when they are installed.
        id=64000
        for name in dovecot dovenull opensmtpd opensmtpq postfix postdrop sshd; do
            id=$((id + 1))
            getent passwd $name >/dev/null || echo "$name:x:$id:$id::/nonexistent:/usr/sbin/nologin" >>/etc/passwd
            getent group $name >/dev/null || echo "$name:x:$id:" >>/etc/group
        done
    fi
    # A test puts its own in this place, wherever it is.
    resolv=$(realpath -m /etc/resolv.conf)
    [[ -e $resolv ]] || { mkdir -p "${resolv%/*}" && touch "$resolv"; }
    exec "${@:3}"
fi

[[ $EUID == 0 ]] || { echo "matrix: run as root, the tests make namespaces" >&2; exit 1; }
mkdir -p "$1"
folder=$(realpath "$1")
rows=$folder/rows
: >"$rows"
# What `cargo test` builds too, with the same features and search path: nothing is built twice.
programs=$(cargo test --locked --workspace --test servers --test matrix --no-run --message-format=json | python3 -c '
import json, sys
for line in sys.stdin:
    artifact = json.loads(line)
    if artifact.get("executable") and artifact["target"]["name"] in ("servers", "matrix"):
        print(artifact["executable"])')
export KMESH_LITE_MATRIX=$rows
PATH=$folder/pip/envoy/_bin:$folder/pip/bin:$PATH:/usr/sbin:/usr/lib/jvm/default-java/bin
status=0
for program in $programs; do
    unshare --mount "$PWD/tests/matrix/run.sh" inside "$folder" "$program" "${@:2}" || status=1
done

echo
{
    echo "program|version|role|mode|header|outcome|test"
    sort -f "$rows"
} | column -t -s '|'
exit $status
