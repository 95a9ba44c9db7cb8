# Tests of the datapath on this kernel: modules of tests/tests/datapath, one at a time.

[[ -d /in/tests ]] || skip "the tests were not built; \`make test-vm\` does"

failed=
for name in $(cat /in/tests/modules); do
    start=$EPOCHREALTIME
    # A filter that fits no test passes as well.
    if timeout "${TEST_LIMIT:-120}" /in/tests/datapath "$name::" --nocapture >"/tmp/$name.log" 2>&1 &&
        said=$(grep -o '^test result: ok. [1-9].*' "/tmp/$name.log"); then
        said=${said#test result: }
        echo "$name: ${said%%;*}, $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms"
        # What depends on the kernel, for waypoint-limits.md.
        grep -o 'closed: .*' "/tmp/$name.log" || true
    else
        echo "--- $name, after $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms"
        cat "/tmp/$name.log"
        failed+=" $name"
    fi
done
[[ -z $failed ]] || fail "tests of the datapath:$failed"
