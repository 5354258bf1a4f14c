#!/bin/bash
# Caffe's own C++ and Python tests on the build that build.sh names: test.sh PYTHON, PYTHON being the interpreter
# that has pycaffe's packages and pydot. Prints both counts; fails if a test failed or if fewer ran than there are.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
root=$("$here/build.sh")
export GLOG_minloglevel=2

say() { echo "caffe-test: $*" >&2; }
fail() { say "$@"; exit 1; }

# The tests compile and write beside the build, in a copy, so that the build stays as it is.
work=$root.tests
exec 9>"$work.lock"
flock -n 9 || { say "another run is testing: waiting for it"; flock 9; }
[ -d "$work" ] || { rm -rf "$work.part"; cp -a "$root" "$work.part"; mv -T "$work.part" "$work"; }
cd "$work"

say "compiling the tests against $root (minutes, the first time)"
# -o: the library is taken as built, though its object files are gone.
env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL PYTHON="$python" make -j"$(nproc)" \
    -o .build_release/lib/libcaffe.so.1.0.0 .build_release/test/test_all.testbin >test.log 2>&1 ||
    fail "compiling the tests failed: $work/test.log"
cmp -s "$root/build/lib/libcaffe.so.1.0.0" build/lib/libcaffe.so.1.0.0 || fail "$work tests another library: delete it"

# Of Debian's snapshot the numbers are known; of other trees, at least the tests that they define must run.
filter='-*GPU*'
[ ! -f cuda.mk ] || filter='*'  # of a CUDA build on the card too
expected_cpp=$(build/test/test_all.testbin --gtest_list_tests --gtest_filter="$filter" | grep -c '^  ')
expected_python=$(grep -h '^ *def test_' python/caffe/test/test_*.py | wc -l)
if [ ! -f cuda.mk ] && "$here/fetch.sh" identity | grep -q '^debian'; then
    expected_cpp=1058
    expected_python=52
fi

say "running"
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
[ $failed = 0 ] || fail "tests failed: see $work/cpp.log and python.log"
[ "${cpp:-0}" -ge "$expected_cpp" ] && [ "${cpp_passed:-0}" -ge "$expected_cpp" ] &&
    [ "${python_run:-0}" -ge "$expected_python" ] || fail "fewer tests ran than there are"
