#!/usr/bin/env bash
# The system tier: boots a guest with systemd, installs the packages in it and runs the scenarios.
#
#   run.sh PACKAGES [SCENARIO...]
#
# PACKAGES is a folder with what `make test-packages` built: of this machine, or a folder for each of
# Debian's architectures. A scenario is a file of scenarios/; none means all of them. Where a guest cannot
# be booted, or a scenario lacks something, that is an error with its reason, and a skip if
# KMESH_LITE_ALLOW_SKIP=1. Logs are kept in target/system/logs, or in KMESH_LITE_SYSTEM_LOGS.
#
# In: a folder that the guest sees as it is. Out: a folder with the guest's logs and `results`, one line
# a scenario, and maybe `figures`. Nothing here knows what a scenario does, and scenarios do not know what
# kind of guest they run in: the same two folders serve every kind (guest-*.sh).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${KMESH_LITE_SYSTEM_CACHE:-$here/../../target/system}
guest=${KMESH_LITE_GUEST:-nspawn}

allow_skip=${KMESH_LITE_ALLOW_SKIP:-}

skip() {
    if [[ $allow_skip == 1 ]]; then
        echo "skipped the system tier: $*" >&2
        exit 0
    fi
    echo "the system tier cannot run here: $*; KMESH_LITE_ALLOW_SKIP=1 makes this a skip" >&2
    exit 1
}

packages=$(realpath "$1")
shift
[[ $EUID == 0 ]] || skip "not root"
mkdir -p "$cache"
cache=$(realpath "$cache")
. "$here/guest-$guest.sh"
# What is made once is not made by two at a time.
exec {lock}>"$cache/lock"
flock "$lock"
reason=$(guest_missing) || skip "$(guest_name): $reason"
guest_prepare
exec {lock}>&-

work=$(mktemp -d "$cache/run.XXXXXX")
trap 'guest_clean || true; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/in" "$work/out"
cp -r "$here"/inside/. "$work/in/"
[[ ! -d $packages/$(guest_architecture) ]] || packages+=/$(guest_architecture)
cp -r "$packages" "$work/in/packages"
if [[ -e $packages/act ]]; then
    mv "$work/in/packages/act" "$work/in/act"
else
    strip -o "$work/in/act" "$here/../../target/debug/kmesh-lite-act"
fi
mkdir "$work/in/scenarios"
[[ $# != 0 ]] || set -- $(guest_scenarios)
for name in "$@"; do cp "$here/scenarios/$name.sh" "$work/in/scenarios/"; done
[[ -z ${KMESH_LITE_TESTS:-} ]] || cp -r "$KMESH_LITE_TESTS" "$work/in/tests"

# Runs /in/main.sh of the guest, which sees the folders as /in and /out, and powers it off.
guest_run "$root" "$work/in" "$work/out" || true

logs=${KMESH_LITE_SYSTEM_LOGS:-$cache/logs/$(guest_name)}
rm -rf "$logs"
mkdir -p "$(dirname "$logs")"
cp -r "$work/out" "$logs"

expected=$(find "$work/in/scenarios" -name '*.sh' | wc -l)
passed=$(grep -c '^ok ' "$logs/results" 2>/dev/null || true)
for log in $(sed -n 's/^FAILED \([^ ]*\).*/\1/p' "$logs/results" 2>/dev/null); do
    echo "--- $log"
    cat "$logs/$log.log"
done
cat "$logs/results" 2>/dev/null || { echo "the guest did not come up:"; tail -40 "$logs/console.log"; }
cat "$logs/figures" 2>/dev/null || true
skipped=$(grep -c '^skipped ' "$logs/results" 2>/dev/null || true)
if [[ ${skipped:-0} != 0 && $allow_skip != 1 ]]; then
    echo "KMESH_LITE_ALLOW_SKIP=1 lets scenarios be skipped" >&2
    skipped=0
fi
summary="system tier ($(guest_name), Linux $(cat "$logs/kernel" 2>/dev/null)): ${passed:-0} of $expected scenarios passed"
if [[ $((${passed:-0} + ${skipped:-0})) != "$expected" ]]; then
    echo "$summary; logs in $logs" >&2
    exit 1
fi
echo "$summary"
