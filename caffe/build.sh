#!/bin/bash
# Builds Caffe and prints the root of the build, which holds build/tools/caffe, build/lib/libcaffe.so.1.0.0 and
# python/caffe. There is one build for each recipe, source, Python, system and processor architecture; if it already
# exists, the script only prints its root.
# Environment, with defaults: PYTHON (/usr/bin/python3), CAFFE_SRC (see fetch.sh), NBCAD_CACHE (~/.cache/nbcad),
# CAFFE_CUDA (set to 1 to build for NVIDIA's cards, see cuda.sh).
set -euo pipefail
shopt -s inherit_errexit
here=$(cd "$(dirname "$0")" && pwd)
export PYTHON=${PYTHON:-/usr/bin/python3}
cache=${NBCAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nbcad}/caffe

say() { echo "caffe: $*" >&2; }
fail() { say "$@"; exit 1; }

numpy_pin() {  # prints numpy's entry in the lock file, with its hashes
    awk '/^[^ #]/ {numpy = /^numpy==/} numpy && !/^ *#/' "$here/../requirements.lock"
}

key() {
    {
        cat "$here"/{build.sh,compile.sh,fetch.sh,edit_source.py,Makefile.config}
        (cd "$here/layers" && find . -type f | LC_ALL=C sort | xargs sha256sum)
        "$here/fetch.sh" identity
        numpy_pin
        "$PYTHON" -c 'import sys; print(sys.version)'
        (. /etc/os-release && echo "$ID $VERSION_ID")
        uname -m
        [ -z "$cuda" ] || { cat "$here/cuda.sh" && echo "$cuda"; }
    } | sha256sum | cut -c 1-16
}

build() {  # builds Caffe in the directory $1
    work=$(mktemp -d "$cache/.build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "fetching the sources"
    "$here/fetch.sh" tree "$work/root"
    "$PYTHON" "$here/edit_source.py" "$work/root"
    cp -r "$here/layers/." "$work/root/"
    cp "$here/Makefile.config" "$work/root/"
    [ -z "$cuda" ] || echo "$cuda" >"$work/root/cuda.mk"
    numpy_pin >"$work/numpy.txt"
    say "compiling on $(nproc) cores (two take $minutes minutes)"
    if ! "$here/compile.sh" "$work/root" "$work/numpy.txt" >"$work/log" 2>&1; then
        mv "$work/log" "$1.log"
        grep -E -m 5 'error:|ERROR:|\*\*\* ' "$1.log" >&2 || tail -n 5 "$1.log" >&2
        fail "compiling failed; the full log is $1.log"
    fi
    mv "$work/log" "$work/root/build.log"
    mv -T "$work/root" "$1"
}

"$here/check_python.sh"
cuda= minutes="2 to 4"
if [ "${CAFFE_CUDA:-0}" = 1 ]; then
    cuda=$("$here/cuda.sh")
    minutes="10 to 20"
fi
mkdir -p "$cache"
root=$cache/$(key)
if [ ! -d "$root" ]; then
    for tool in dpkg-source g++ make protoc; do
        command -v $tool >/dev/null || fail "$tool is missing: \`make setup\` installs the Debian packages."
    done
    exec 9>"$root.lock"
    flock -n 9 || { say "waiting for another build of the same Caffe"; flock 9; }
fi
if [ ! -d "$root" ]; then
    build "$root"
    say "built in $SECONDS s: $root"
fi
echo "$root"
