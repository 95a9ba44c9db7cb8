# The tests of the datapath, on this kernel: those that need neither other servers nor the repository.

[[ -d /in/tests ]] || skip "the tests' programs were not built; \`make test-vm\` does"

# They start the daemon from where it was built.
path=$(cat /in/tests/daemon/path)
mkdir -p "$(dirname "$path")"
ln -sf /in/tests/daemon/program "$path"
export KMESH_LITE_REQUIRE_BPF=1

failed=
for program in /in/tests/*; do
    name=${program##*/}
    [[ $name != daemon ]] || continue
    start=$EPOCHREALTIME
    if timeout "${TEST_LIMIT:-120}" "$program" >"/tmp/$name.log" 2>&1; then
        said=$(sed -n 's/^test result: //p' "/tmp/$name.log")
        echo "$name: ${said%%;*}, $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms"
    else
        echo "--- $name, after $(((${EPOCHREALTIME/./} - ${start/./}) / 1000)) ms"
        cat "/tmp/$name.log"
        failed+=" $name"
    fi
done
[[ -z $failed ]] || fail "tests of$failed"
