#!/usr/bin/env bash
# The system tier on other kernels, and a table of what passed on which.
# usage: kernels.sh PACKAGES TESTS "GUEST..." [SCENARIO...]
#
# A GUEST is named as guest-qemu.sh says: `6.1`, `trixie`, `6.12-arm64`.
# As many guests at once as there are processors, but for `hitless`: it counts connects a second, so it has
# the machine for itself. TESTS is what packaging/test-programs.sh made, for the scenario `datapath`;
# empty where there is none.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
packages=$1 kernels=$3
export KMESH_LITE_TESTS=$2
shift 3

logs=${KMESH_LITE_SYSTEM_CACHE:-$here/../../target/system}/logs
said=$(mktemp -d)
# What a guest is there for, by the process that looks after it.
declare -A booted=() began=()
trap 'kill "${!booted[@]}" 2>/dev/null || true; wait; rm -rf "$said"' EXIT
trap 'exit 130' INT TERM

[[ $# != 0 ]] || set -- $(cd "$here/scenarios" && ls *.sh | sed 's/\.sh$//')
alone=() together=()
for scenario in "$@"; do
    if [[ $scenario == hitless ]]; then alone+=("$scenario"); else together+=("$scenario"); fi
done

# boot KERNEL PART SCENARIO...
boot() {
    local part=qemu-$1/$2
    echo "system: booting Linux $1 for ${*:3}"
    mkdir -p "$said/$part"
    KMESH_LITE_GUEST=qemu KMESH_LITE_KERNEL=$1 KMESH_LITE_SYSTEM_LOGS=$logs/$part \
        "$here/run.sh" "$packages" "${@:3}" >"$said/$part/all" 2>&1 &
    booted[$!]=$part began[$!]=$SECONDS
}

# Waits for one of them; what it says comes as one piece.
failed=
one_ends() {
    local ended
    wait -n -p ended || failed=1
    cat "$said/${booted[$ended]}/all"
    echo "system: ${booted[$ended]} took $((SECONDS - began[$ended])) s"
    unset "booted[$ended]"
}

for kernel in $kernels; do rm -rf "$logs/qemu-$kernel"; done
for kernel in $kernels; do
    [[ ${#alone[@]} != 0 ]] || break
    boot "$kernel" alone "${alone[@]}"
    one_ends
done
for kernel in $kernels; do
    [[ ${#together[@]} != 0 ]] || break
    [[ ${#booted[@]} -lt $(nproc) ]] || one_ends
    boot "$kernel" together "${together[@]}"
done
while [[ ${#booted[@]} != 0 ]]; do one_ends; done

# results KERNEL: `SCENARIO OUTCOME`, one a line.
results() {
    cat "$logs/qemu-$1"/*/results 2>/dev/null |
        sed -E 's/^ok ([^ ]+) \(([0-9]+)[0-9]{3} ms\)/\1 ok,\2s/; s/^(FAILED|skipped) ([^ :]+).*/\2 \1/'
}
echo
{
    echo "scenario" $kernels
    row=Linux
    for kernel in $kernels; do
        release=$(cat "$logs/qemu-$kernel"/*/kernel 2>/dev/null | head -n 1 || true)
        row+=" ${release:--}"
    done
    echo "$row"
    for scenario in "$@"; do
        row=$scenario
        for kernel in $kernels; do
            outcome=$(results "$kernel" | sed -n "s/^$scenario //p")
            row+=" ${outcome:--}"
        done
        echo "$row"
    done
} | column -t
[[ -z $failed ]]
