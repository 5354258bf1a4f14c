#!/bin/bash
# Caffe's sources, in this order: $CAFFE_SRC (a directory or a tar ball); /opt/caffe (the BVLC Docker image);
# Debian bullseye's signed source package.
#   fetch.sh identity      prints one line that changes when the sources do
#   fetch.sh tree DIR      puts the sources' root at DIR, without anything that was built from them
set -euo pipefail
shopt -s inherit_errexit

debian_version=1.0.0+git20180821.99bd997-8
bvlc_root=/opt/caffe
# What the library, the tool, pycaffe and their tests need.
parts=(LICENSE Makefile examples include models python src tools)

fail() { echo "caffe: $*" >&2; exit 1; }
is_tree() { [ -f "$1/src/caffe/proto/caffe.proto" ]; }

sources() {  # the files of tree $1, NUL-separated: no products of an earlier build, no notebooks
    (cd "$1" && find $(ls -d "${parts[@]}" 2>/dev/null) \( -path python/caffe/proto -o -name __pycache__ \) -prune -o \
        -type f ! -name '*.so' ! -name '*.o' ! -name '*.pyc' ! -name '*_pb2.py' ! -name '*.pb.*' \
        ! -name '*.ipynb' ! -name '*.csv.gz' -print0 | sort -z)
}

copy_tree() {
    mkdir -p "$2"
    sources "$1" | tar -C "$1" --null --no-recursion -T - -c | tar -C "$2" -x
}

unpack() {  # tar ball $1 to $2
    local root
    mkdir "$work/tar"
    tar -C "$work/tar" -xf "$1" || fail "CAFFE_SRC=$1 is not a tar ball that tar can read."
    root=$(cd "$work/tar" && find . -path '*/src/caffe/proto/caffe.proto' | head -n 1)
    [ -n "$root" ] || fail "CAFFE_SRC=$1 holds no src/caffe/proto/caffe.proto: is it BVLC Caffe?"
    copy_tree "$work/tar/${root%/src/caffe/proto/caffe.proto}" "$2"
}

apt() {  # apt-get, with sources and state of its own in $work
    apt-get -q -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=- \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root \
        -o Acquire::Retries=3 -o Acquire::http::Timeout=30 "$@"
}

from_debian() {
    local keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirrors mirror
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    # The mirrors that the machine's own apt uses; a signature tells which of them carry Debian.
    mirrors=$(apt-get update --print-uris 2>/dev/null | sed -n "s|^'\(.*\)/dists/[a-z]*/InRelease'.*|\1|p" | sort -u)
    for mirror in $mirrors; do
        echo "deb-src [signed-by=$keyring] $mirror bullseye main" >"$work/sources.list"
        if (cd "$work" && apt update && apt source --only-source "caffe=$debian_version") >>"$work/log" 2>&1
        then
            copy_tree "$(echo "$work"/caffe-*/)" "$1"
            return
        fi
    done
    [ -n "$mirrors" ] || fail "no sources to be had: neither CAFFE_SRC nor $bvlc_root nor a mirror of apt is" \
        "there. Set CAFFE_SRC to a directory or tar ball of BVLC Caffe 1.0."
    grep -E '^(E:|Err|dpkg-source: error)' "$work/log" | tail -n 3 >&2 || true
    fail "no sources to be had: neither CAFFE_SRC nor $bvlc_root is there, and no mirror of apt gives" \
        "caffe $debian_version of Debian bullseye (lines above, if any, are apt's)." \
        "Set CAFFE_SRC to a directory or tar ball of BVLC Caffe 1.0."
}

identity() {
    if [ -n "${CAFFE_SRC:-}" ]; then
        if is_tree "$CAFFE_SRC"; then
            hash_tree "$CAFFE_SRC"
        elif [ -f "$CAFFE_SRC" ]; then
            sha256sum <"$CAFFE_SRC"
        else
            fail "CAFFE_SRC=$CAFFE_SRC is neither a tar ball nor a directory with src/caffe/proto/caffe.proto."
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
