#!/bin/bash
# Runs in the guest: every scenario, each on a guest without kmesh-lite, and leaves none behind.
set -u
# Whoever starts us may have no environment at all.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
cd /in
[ ! -e environment ] || . ./environment

for scenario in scenarios/*.sh; do
    name=$(basename "$scenario" .sh)
    start=$(date +%s%N)
    ( . ./scenario.sh; fresh; set -eE; trap 'echo "FAILED at line $LINENO of ${BASH_SOURCE[0]}: $BASH_COMMAND"' ERR
      trap clean EXIT; . "./$scenario" ) >"/out/$name.log" 2>&1
    result=$?
    took=$(( ($(date +%s%N) - start) / 1000000 ))
    if [ $result = 0 ]; then
        echo "ok $name ($took ms)" >>/out/results
    elif [ $result = 77 ]; then
        echo "skipped $name: $(sed -n 's/^SKIPPED: //p' "/out/$name.log")" >>/out/results
    else
        { echo "--- journal"; journalctl --no-pager -o cat -n 60 -u kmesh-lite; } >>"/out/$name.log" 2>&1
        echo "FAILED $name ($took ms)" >>/out/results
    fi
done
journalctl --no-pager >/out/journal.log 2>&1
uname -r >/out/kernel
