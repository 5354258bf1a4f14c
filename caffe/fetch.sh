#!/bin/bash
# Finds Caffe's sources: $CAFFE_SRC (a directory or a tarball), or else /opt/caffe (the BVLC Docker image), or else
# Debian bullseye's signed source package.
#   fetch.sh identity      prints one line that changes when the sources change
#   fetch.sh tree DIR      copies the sources to DIR, without any files built from them
set -euo pipefail
shopt -s inherit_errexit

debian_version=1.0.0+git20180821.99bd997-8
bvlc_root=/opt/caffe
# The parts that the library, the tool, pycaffe and their tests need.
parts=(LICENSE Makefile examples include models python src tools)

fail() { echo "caffe: $*" >&2; exit 1; }
is_tree() { [ -f "$1/src/caffe/proto/caffe.proto" ]; }

sources() {  # prints the files of tree $1, NUL-separated, without products of a build and notebooks
    (cd "$1" && find $(ls -d "${parts[@]}" 2>/dev/null) \( -path python/caffe/proto -o -name __pycache__ \) -prune -o \
        -type f ! -name '*.so' ! -name '*.o' ! -name '*.pyc' ! -name '*_pb2.py' ! -name '*.pb.*' \
        ! -name '*.ipynb' ! -name '*.csv.gz' -print0 | sort -z)
}

copy_tree() {
    mkdir -p "$2"
    sources "$1" | tar -C "$1" --null --no-recursion -T - -c | tar -C "$2" -x
}

unpack() {  # copies the sources in tarball $1 to $2
    local root
    mkdir "$work/tar"
    tar -C "$work/tar" -xf "$1" || fail "CAFFE_SRC=$1 is not a tarball that tar can read."
    root=$(cd "$work/tar" && find . -path '*/src/caffe/proto/caffe.proto' | head -n 1)
    [ -n "$root" ] || fail "CAFFE_SRC=$1 does not contain src/caffe/proto/caffe.proto: is it BVLC Caffe?"
    copy_tree "$work/tar/${root%/src/caffe/proto/caffe.proto}" "$2"
}

apt() {  # calls apt-get with its own sources and state in $work
    apt-get -q -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root \
        -o Acquire::Retries=3 -o Acquire::http::Timeout=30 "$@"
}

from_debian() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirrors mirror
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    # Try the mirrors that the machine's apt uses. The signature shows which of them carry Debian.
    mirrors=$(apt-get update --print-uris 2>/dev/null | sed -n "s|^'\(.*\)/dists/[a-z]*/InRelease'.*|\1|p" | sort -u)
    for mirror in $mirrors; do
        echo "deb-src [signed-by=$keyring] $mirror bullseye main" >"$work/sources.list"
        if (cd "$work" && apt update && apt source --only-source "caffe=$debian_version") >>"$work/log" 2>&1
        then
            copy_tree "$(echo "$work"/caffe-*/)" "$1"
            return
        fi
    done
    [ -n "$mirrors" ] || fail "no sources found: CAFFE_SRC is not set, $bvlc_root does not exist, and apt has no" \
        "mirror. Set CAFFE_SRC to a directory or tarball of BVLC Caffe 1.0."
    grep -E '^(E:|Err|dpkg-source: error)' "$work/log" | tail -n 3 >&2 || true
    fail "no sources found: CAFFE_SRC is not set, $bvlc_root does not exist, and none of apt's mirrors offers" \
        "caffe $debian_version of Debian bullseye (any lines above are apt's)." \
        "Set CAFFE_SRC to a directory or tarball of BVLC Caffe 1.0."
}

identity() {
    if [ -n "${CAFFE_SRC:-}" ]; then
        if is_tree "$CAFFE_SRC"; then
            hash_tree "$CAFFE_SRC"
        elif [ -f "$CAFFE_SRC" ]; then
            sha256sum <"$CAFFE_SRC"
        else
            fail "CAFFE_SRC=$CAFFE_SRC is neither a tarball nor a directory with src/caffe/proto/caffe.proto."
        fi
    elif is_tree "$bvlc_root"; then
        hash_tree "$bvlc_root"
    else
        echo "debian caffe $debian_version"
    fi
}

hash_tree() { sources "$1" | (cd "$1" && xargs -0 sha256sum) | sha256sum; }

tree() {
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    if [ -n "${CAFFE_SRC:-}" ]; then
        if is_tree "$CAFFE_SRC"; then copy_tree "$CAFFE_SRC" "$1"; else unpack "$CAFFE_SRC" "$1"; fi
    elif is_tree "$bvlc_root"; then
        copy_tree "$bvlc_root" "$1"
    else
        from_debian "$1"
    fi
}

case "${1:-} $#" in
    "identity 1") identity ;;
    "tree 2") tree "$2" ;;
    *) sed -n '2,5s/^# //p' "$0" >&2; exit 2 ;;
esac
