#!/bin/bash
# Builds the image with buildah, on a machine that has neither a container engine nor a registry, and uses it:
# check.sh TARGET, as root, TARGET being cpu or cuda (without a card). Stand-ins take the places of the Dockerfile's
# bases: Debian 12 as mmdebstrap makes it; for BVLC's image one that holds only the sources, Debian's snapshot taken
# back to the tag by tag_tree.py; for NVIDIA's the same parts of CUDA out of its packages for Python.
# CAFFE_SRC, a directory or a tar ball: other sources, such as those of the tag itself. CUDA_ARCH: as for make caffe.
set -euo pipefail
shopt -s inherit_errexit
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
target=$1
image=localhost/nbcad-check:$target
patients=16
iterations=20

say() { echo "image-check: $*" >&2; }
fail() { say "$@"; exit 1; }

[ "$(id -u)" = 0 ] || fail "buildah's chroot isolation and mmdebstrap need root."
# Not /tmp, which may be memory: it takes 8 GB.
work=$(mktemp -d /var/tmp/nbcad-image.XXXXXX)
b() { buildah --root "$work/storage" --runroot "$work/run" "$@"; }
clean_up() { b rm --all >/dev/null 2>&1 || true; b rmi --all --force >/dev/null 2>&1 || true; rm -rf "$work"; }
trap clean_up EXIT

import() {  # the tar ball or folder $1 as the image $2
    local container
    container=$(b from scratch)
    b add --quiet "$container" "$1" "${3:-/}" >/dev/null
    b commit --quiet --rm "$container" "$2" >/dev/null
}

stand_ins() {
    say "stand-ins for the bases"
    # As in the slim image: no manuals.
    mmdebstrap --quiet --variant=minbase --include=ca-certificates \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        bookworm "$work/debian.tar"
    import "$work/debian.tar" "docker.io/library/$(sed -n 's/^ARG DEBIAN=//p' Dockerfile)"
    caffe/fetch.sh tree "$work/caffe"
    [ -n "${CAFFE_SRC:-}" ] || python3 "$here/tag_tree.py" "$work/caffe"
    import "$work/caffe" docker.io/bvlc/caffe:cpu /opt/caffe
    [ "$target" = cpu ] || nvidia_stand_in
}

nvidia_stand_in() {
    .venv/bin/pip -qq install --target "$work/wheels" 'cuda-toolkit[nvcc,cudart,cccl,cublas,curand]==13.0.*'
    ln -s lib "$work/wheels/nvidia/cu13/lib64"
    import "$work/wheels/nvidia/cu13" "docker.io/$(sed -n 's/^FROM \(nvidia.*\) AS .*/\1/p' Dockerfile)" \
        /usr/local/cuda-13.0
    rm -r "$work/wheels"
}

pip_volumes() {  # what pip needs here to find its packages, in the build alone
    .venv/bin/pip config list | sed -n "s/^[^.]*\.\([^=]*\)='\(.*\)'$/\1 = \2/p" | awk -F ' = ' '!seen[$1]++' \
        >"$work/pip.settings"
    { echo "[global]"; cat "$work/pip.settings"; } >"$work/pip.conf"
    echo "--volume=$work/pip.conf:/etc/pip.conf:ro"
    # Folders and files that its settings name; of an index, what lies beside it too.
    grep -oE '(file://)?/[^ ]+' "$work/pip.settings" | sed 's|^file://\(.*\)/[^/]*$|\1|' | while read -r path; do
        [ ! -f "$path" ] || path=${path%/*}
        [ ! -d "$path" ] || echo "--volume=$path:$path:ro"
    done | sort -u
}

in_image() {
    b run --isolation chroot --volume "$work/data:/nbcad/data" --volume "$work/runs:/nbcad/runs" "$container" -- "$@"
}
expect() { [ "$1" = "$2" ] || fail "$3: $1, and not $2"; }

stand_ins
mapfile -t volumes < <(pip_volumes)
say "building"
b build --format docker --isolation chroot --network host --pull-never --target "$target" --tag "$image" \
    ${CUDA_ARCH:+--build-arg CUDA_ARCH="$CUDA_ARCH"} "${volumes[@]}" . >"$work/build.log" 2>&1 ||
    { tail -n 20 "$work/build.log" >&2; fail "the build failed"; }

container=$(b from --pull-never "$image")
mkdir -m 777 "$work/data" "$work/runs"

say "using it"
expect "$(in_image id -u)" 1000 "user"
in_image bash -c '! command -v cc gcc g++ c++ clang cpp ld nvcc pip' || fail "there are tools to compile with"
expect "$(in_image find /var/lib/apt/lists /var/cache/apt -type f)" "" "apt's files"
mapfile -t health < <(b inspect --format '{{range .Docker.Config.Healthcheck.Test}}{{println .}}{{end}}' --type image \
    "$image" | sed '1d;/^$/d')  # without the word CMD
in_image "${health[@]}" >"$work/health.log" 2>&1 || { tail -n 5 "$work/health.log" >&2; fail "not healthy"; }
in_image make train-organ PATIENTS=$patients ITERATIONS=$iterations
in_image make train-stage PATIENTS=$patients ITERATIONS=$iterations
for run in organ stage; do
    expect "$(tail -n 1 "$work/runs/$run/log.csv" | cut -d , -f 1)" $iterations "last iteration of $run"
done
patient=$(cd "$work" && find data/phantom/dicom -mindepth 1 -maxdepth 1 | sort | head -n 1)
in_image tools/infer.py "$patient" --out runs/report
.venv/bin/python - "$work/runs/report/report.json" <<'PYTHON' || fail "the report has no analysed series"
import json
import sys

summary = json.load(open(sys.argv[1]))["summary"]
print("report:", summary)
sys.exit(not (summary["series"] and summary["files_used"] and not summary["files_refused"]))
PYTHON
# As docs/usage.md has it for the stock image.
in_image caffe train --solver=solvers/stage_solver.prototxt >"$work/caffe.log" 2>&1 ||
    { tail -n 5 "$work/caffe.log" >&2; fail "caffe train failed"; }
ls "$work/runs/stage/snapshot_iter_500.caffemodel" >/dev/null

if [ "$target" = cuda ]; then
    in_image bash -c 'ldd .cache/caffe/*/build/lib/libcaffe.so.1.0.0' | grep -E 'lib(cudart|cublas|curand)\.so' >&2
    ! in_image tools/infer.py "$patient" --out runs/card --models runs --device cuda:0 || fail "cuda:0 without a card"
fi

root=$(b mount "$container")
say "passed; the image holds $(du -sxm "$root" | cut -f 1) MB," \
    "$(du -sm "$root/nbcad/.venv" | cut -f 1) of them the Python environment"
