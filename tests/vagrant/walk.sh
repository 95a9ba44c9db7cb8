#!/usr/bin/env bash
# Inside of libvirt.sh: up, every step of the tour, destroy. usage: walk.sh LOGS
set -euo pipefail
logs=$1
tour=$VAGRANT_CWD/tour

# step NAME COMMAND...: quiet when all is well.
step() {
    local name=$1 start=$SECONDS
    shift
    if ! "$@" </dev/null >"$logs/$name.log" 2>&1; then
        echo "--- $name"
        # Progress is written over itself.
        tr '\r' '\n' <"$logs/$name.log" | grep -v 'Progress: ' | tail -n 60
        echo "FAILED $name"
        return 1
    fi
    echo "ok $name ($((SECONDS - start)) s)"
}

step up vagrant --no-tty up
for path in "$tour"/[1-9]*.sh; do
    name=$(basename "$path" .sh)
    [[ -z ${STEPS:-} || " $STEPS " == *" $name "* ]] || continue
    step "$name" "$path"
done
step destroy vagrant --no-tty destroy --force
[[ -z $(virsh --connect qemu:///system list --all --name) ]] || { echo "FAILED destroy: there are machines left"; exit 1; }
