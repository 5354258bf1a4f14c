#!/bin/bash
# Runs Caffe's own C++ and Python tests on the build that build.sh names: test.sh PYTHON, where PYTHON is an interpreter
# with pycaffe's packages and pydot. Prints both counts. Fails if a test failed or fewer tests ran than there are.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
root=$("$here/build.sh")
export GLOG_minloglevel=2

say() { echo "caffe-test: $*" >&2; }
fail() { say "$@"; exit 1; }

# The tests are compiled and run in a copy, so that the build itself does not change.
work=$root.tests
exec 9>"$work.lock"
flock -n 9 || { say "waiting for another run of the tests"; flock 9; }
[ -d "$work" ] || { rm -rf "$work.part"; cp -a "$root" "$work.part"; mv -T "$work.part" "$work"; }
cd "$work"

say "compiling the tests for $root (the first time takes minutes)"
# -o: the library counts as up to date, although its object files have been deleted.
env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL PYTHON="$python" make -j"$(nproc)" \
    -o .build_release/lib/libcaffe.so.1.0.0 .build_release/test/test_all.testbin >test.log 2>&1 ||
    fail "compiling the tests failed; the full log is $work/test.log"
cmp -s "$root/build/lib/libcaffe.so.1.0.0" build/lib/libcaffe.so.1.0.0 ||
    fail "$work contains another library: delete it"

# The number of tests in Debian's snapshot is known. In other trees, at least the tests that they define must run.
filter='-*GPU*'
[ ! -f cuda.mk ] || filter='*'  # a CUDA build is tested on the card too
expected_cpp=$(build/test/test_all.testbin --gtest_list_tests --gtest_filter="$filter" | grep -c '^  ')
expected_python=$(grep -h '^ *def test_' python/caffe/test/test_*.py | wc -l)
if [ ! -f cuda.mk ] && "$here/fetch.sh" identity | grep -q '^debian'; then
    expected_cpp=1058
    expected_python=52
fi

say "running the tests"
failed=0
build/test/test_all.testbin --gtest_filter="$filter" >cpp.log 2>&1 || failed=1
cpp=$(sed -n 's/^\[==========\] \([0-9]*\) tests from .* ran\..*/\1/p' cpp.log)
cpp_passed=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) tests\{0,1\}\..*/\1/p' cpp.log)
(cd python && "$python" -m unittest discover -s caffe/test) >python.log 2>&1 || failed=1
python_run=$(sed -n 's/^Ran \([0-9]*\) tests\{0,1\} in .*/\1/p' python.log)
python_bad=$(sed -n 's/^FAILED (\(.*\))/, \1/p' python.log)
python_skipped=$(sed -n 's/^OK (skipped=\(.*\))/, \1 skipped/p' python.log)

echo "Caffe's C++ tests: ${cpp:-0} of $expected_cpp ran, ${cpp_passed:-0} passed"
echo "Caffe's Python tests: ${python_run:-0} of $expected_python ran$python_bad$python_skipped"
grep -h -E '^(\[  FAILED  \] [^0-9].*|FAIL: .*|ERROR: .*)' cpp.log python.log | sort -u >&2 || true
[ $failed = 0 ] || fail "tests failed; the full logs are cpp.log and python.log in $work"
[ "${cpp:-0}" -ge "$expected_cpp" ] && [ "${cpp_passed:-0}" -ge "$expected_cpp" ] &&
    [ "${python_run:-0}" -ge "$expected_python" ] || fail "fewer tests ran than there are"
