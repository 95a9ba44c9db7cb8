#!/usr/bin/env bash
# Runs a command that may start programs of another architecture, which are emulated.
# usage: foreign.sh ARCHITECTURE COMMAND...   (Debian's word: arm64)
#
# The kernel is told of the emulator in a user namespace, with the users of this machine, and forgets it with
# the command: this machine runs what it ran before.
set -euo pipefail
case $1 in
arm64) emulator=qemu-aarch64 ;;
*) echo "foreign: no emulator for $1" >&2; exit 1 ;;
esac
shift

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkfifo "$work/mapped"
unshare --user --mount --pid --fork --kill-child sh -ec '
    read -r _ <"$1"
    mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    cat "$2" >/proc/sys/fs/binfmt_misc/register
    shift 2
    exec "$@"' sh "$work/mapped" "/usr/lib/binfmt.d/$emulator.conf" "$@" &
command=$!
until [[ $(readlink "/proc/$command/ns/user") != "$(readlink /proc/self/ns/user)" ]]; do sleep 0.01; done
echo 0 0 65536 >"/proc/$command/uid_map"
echo 0 0 65536 >"/proc/$command/gid_map"
echo >"$work/mapped"
wait "$command"
