#!/bin/bash
# Builds the image with buildah, on a machine without a container engine or registry, and tries it: check.sh TARGET, as
# root, where TARGET is cpu or cuda (no card needed). Stand-ins replace the Dockerfile's base images: a Debian 12 made
# by mmdebstrap; for BVLC's image, one that contains only the sources, Debian's snapshot reverted to the tag by
# tag_tree.py; and for NVIDIA's image, the same parts of CUDA from NVIDIA's packages for Python.
# Environment: CAFFE_SRC (a directory or tarball of other sources, such as the tag itself), CUDA_ARCH (caffe/cuda.sh).
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
# Not in /tmp, which may be in memory: this takes 8 GB.
work=$(mktemp -d /var/tmp/nbcad-image.XXXXXX)
b() { buildah --root "$work/storage" --runroot "$work/run" "$@"; }
clean_up() { b rm --all >/dev/null 2>&1 || true; b rmi --all --force >/dev/null 2>&1 || true; rm -rf "$work"; }
trap clean_up EXIT

import() {  # makes the image $2 from the tarball or folder $1, placed at $3 (/)
    local container
    container=$(b from scratch)
    b add --quiet "$container" "$1" "${3:-/}" >/dev/null
    b commit --quiet --rm "$container" "$2" >/dev/null
}

stand_ins() {
    say "making stand-ins for the base images"
    # Without manuals, like the slim image.
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

pip_volumes() {  # prints mounts that give pip this machine's settings, during the build only
    .venv/bin/pip config list | sed -n "s/^[^.]*\.\([^=]*\)='\(.*\)'$/\1 = \2/p" | awk -F ' = ' '!seen[$1]++' \
        >"$work/pip.settings"
    { echo "[global]"; cat "$work/pip.settings"; } >"$work/pip.conf"
    echo "--volume=$work/pip.conf:/etc/pip.conf:ro"
    # Mount the folders and files that the settings name, and the folder of a local index.
    grep -oE '(file://)?/[^ ]+' "$work/pip.settings" | sed 's|^file://\(.*\)/[^/]*$|\1|' | while read -r path; do
        [ ! -f "$path" ] || path=${path%/*}
        [ ! -d "$path" ] || echo "--volume=$path:$path:ro"
    done | sort -u
}

in_image() {
    b run --isolation chroot --volume "$work/data:/nbcad/data" --volume "$work/runs:/nbcad/runs" "$container" -- "$@"
}
expect() { [ "$1" = "$2" ] || fail "$3 is $1, not $2"; }

stand_ins
mapfile -t volumes < <(pip_volumes)
say "building the image"
b build --format docker --isolation chroot --network host --pull-never --target "$target" --tag "$image" \
    ${CUDA_ARCH:+--build-arg CUDA_ARCH="$CUDA_ARCH"} "${volumes[@]}" . >"$work/build.log" 2>&1 ||
    { tail -n 20 "$work/build.log" >&2; fail "the build failed"; }

container=$(b from --pull-never "$image")
mkdir -m 777 "$work/data" "$work/runs"

say "trying the image"
expect "$(in_image id -u)" 1000 "the user"
in_image bash -c '! command -v cc gcc g++ c++ clang cpp ld nvcc pip' || fail "the image contains compilers or pip"
expect "$(in_image find /var/lib/apt/lists /var/cache/apt -type f)" "" "list of apt's files"
mapfile -t health < <(b inspect --format '{{range .Docker.Config.Healthcheck.Test}}{{println .}}{{end}}' --type image \
    "$image" | sed '1d;/^$/d')  # without the word CMD
in_image "${health[@]}" >"$work/health.log" 2>&1 ||
    { tail -n 5 "$work/health.log" >&2; fail "the health check failed"; }
in_image make train-organ PATIENTS=$patients ITERATIONS=$iterations
in_image make train-stage PATIENTS=$patients ITERATIONS=$iterations
for run in organ stage; do
    expect "$(tail -n 1 "$work/runs/$run/log.csv" | cut -d , -f 1)" $iterations "the last iteration of $run"
done
patient=$(cd "$work" && find data/phantom/dicom -mindepth 1 -maxdepth 1 | sort | head -n 1)
in_image tools/infer.py "$patient" --out runs/report || [ $? -eq 3 ]  # few iterations: the images may be unsuited
.venv/bin/python - "$work/runs/report/report.json" <<'PYTHON' || fail "the report does not contain an analysed series"
import json
import sys

summary = json.load(open(sys.argv[1]))["summary"]
print("report:", summary)
sys.exit(not (summary["series"] and summary["files_used"] and not summary["files_refused"]))
PYTHON
# The command that docs/usage.md gives for the stock image.
in_image caffe train --solver=solvers/stage_solver.prototxt >"$work/caffe.log" 2>&1 ||
    { tail -n 5 "$work/caffe.log" >&2; fail "caffe train failed"; }
ls "$work/runs/stage/snapshot_iter_500.caffemodel" >/dev/null

if [ "$target" = cuda ]; then
    in_image bash -c 'ldd .cache/caffe/*/build/lib/libcaffe.so.1.0.0' | grep -E 'lib(cudart|cublas|curand)\.so' >&2
    ! in_image tools/infer.py "$patient" --out runs/card --models runs --device cuda:0 ||
        fail "--device cuda:0 succeeded without a card"
fi

root=$(b mount "$container")
say "passed; the image takes $(du -sxm "$root" | cut -f 1) MB," \
    "$(du -sm "$root/nbcad/.venv" | cut -f 1) of them the Python environment"
