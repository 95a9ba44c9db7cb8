#!/usr/bin/env bash
# The system tier on other kernels, one after the other, and a table of what passed on which.
# usage: kernels.sh PACKAGES TESTS "SERIES..." [SCENARIO...]
#
# TESTS is what packaging/test-programs.sh made, for the scenario `datapath`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
packages=$1 kernels=$3
export KMESH_LITE_TESTS=$2
shift 3

logs=${KMESH_LITE_SYSTEM_CACHE:-$here/../../target/system}/logs
failed=
for kernel in $kernels; do
    rm -rf "$logs/qemu-$kernel"
    KMESH_LITE_GUEST=qemu KMESH_LITE_KERNEL=$kernel "$here/run.sh" "$packages" "$@" || failed=1
done

# results KERNEL: `SCENARIO OUTCOME`, one a line.
results() {
    [[ ! -e $logs/qemu-$1/results ]] ||
        sed -E 's/^ok ([^ ]+) \(([0-9]+)[0-9]{3} ms\)/\1 ok,\2s/; s/^(FAILED|skipped) ([^ :]+).*/\2 \1/' "$logs/qemu-$1/results"
}
echo
{
    echo "scenario" $kernels
    for kernel in $kernels; do results "$kernel"; done | cut -d ' ' -f 1 | sort -u | while read -r scenario; do
        row=$scenario
        for kernel in $kernels; do
            outcome=$(results "$kernel" | sed -n "s/^$scenario //p")
            row+=" ${outcome:--}"
        done
        echo "$row"
    done
} | column -t
[[ -z $failed ]]
