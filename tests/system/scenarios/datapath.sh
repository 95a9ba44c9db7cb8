# The tests of the datapath, on this kernel: those that need neither other servers nor the repository.

[[ -d /in/tests ]] || skip "the tests' programs were not built; \`make test-vm\` does"

# They start the daemon from where it was built.
path=$(cat /in/tests/path)
mkdir -p "$(dirname "$path")"
ln -sf /in/tests/under-test "$path"
export KMESH_LITE_REQUIRE_BPF=1

failed=
for name in ${DATAPATH:-routing policy clients getpeername headers header_sends native server_first \
    waypoint waypoint_down drift tampering growth loading capture hitless}; do
    start=$EPOCHREALTIME
    if timeout 300 "/in/tests/$name" --quiet >"/tmp/$name.log" 2>&1; then
        said=$(sed -n 's/^test result: //p' "/tmp/$name.log")
        echo "$name: ${said%%;*}, $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms"
    else
        echo "--- $name"
        cat "/tmp/$name.log"
        failed+=" $name"
    fi
done
[[ -z $failed ]] || fail "tests of$failed"
