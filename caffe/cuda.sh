#!/bin/bash
# Prints cuda.mk of a CUDA build, which Makefile.config reads: where the toolkit's parts lie and what cards are compiled
# for. One line on stderr says which part is missing and how to get it.
# Environment: CUDA_DIR (/usr/local/cuda), CUDA_ARCH (80 86 89 90), USE_NCCL (empty), NBCAD_CACHE (~/.cache/nbcad).
set -euo pipefail
shopt -s inherit_errexit extglob
toolkit=${CUDA_DIR:-/usr/local/cuda}
# NVIDIA's packages for Python, by pip's --target.
wheels=${NBCAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nbcad}/cuda
read -ra architectures <<<"${CUDA_ARCH:-80 86 89 90}"

fail() { echo "caffe: $*" >&2; exit 1; }

nvcc=$toolkit/bin/nvcc
[ -x "$nvcc" ] ||
    fail "nvcc is missing: there is no $nvcc. Install the CUDA toolkit, 12 or 13, and set CUDA_DIR to it; or" \
    "pip install --target $wheels 'cuda-toolkit[nvcc,cudart,cccl,cublas,curand]==13.0.*' and" \
    "CUDA_DIR=$wheels/nvidia/cu13."
version=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
case $version in
    12.* | 13.*) ;;
    *) fail "$nvcc is CUDA $version: Caffe is built with CUDA 12 or 13. Set CUDA_DIR." ;;
esac
known=$("$nvcc" --list-gpu-arch | sed 's/compute_//' | tr '\n' ' ')
for architecture in "${architectures[@]}"; do
    [[ " $known" == *" $architecture "* ]] ||
        fail "CUDA_ARCH: nvcc $version knows no architecture $architecture, but ${known% }."
done

part() {  # finds NAME by its HEADER and LIBRARY; PACKAGE is what to give to pip
    local prefix library
    for prefix in "$toolkit" "$wheels"/nvidia/{"cu${version%.*}",nccl} /usr; do
        [ -f "$prefix/include/$2" ] || continue
        for library in "$prefix"/{lib64,lib,"lib/$(uname -m)-linux-gnu"}/"lib$3".so.+([0-9]); do
            [ -f "$library" ] || continue
            # By its very name: NVIDIA's packages for Python have no libNAME.so.
            echo "CUDA_LIBRARIES += :${library##*/}"
            echo "INCLUDE_DIRS += $prefix/include"
            echo "LIBRARY_DIRS += ${library%/*}"
            echo "LDFLAGS += -Wl,-rpath,${library%/*}"
            return
        done
    done
    fail "$1 is missing: neither $toolkit nor $wheels has $2 and lib$3.so.*. Install its development package, or" \
        "of CUDA 13: pip install --target $wheels $4"
}

echo "# nvcc $version"
echo "CPU_ONLY := 0"
echo "CUDA_DIR := $toolkit"
# Cards younger than the newest architecture compile its PTX when they first run it.
newest=$(printf '%s\n' "${architectures[@]}" | sort -n | tail -n 1)
echo "CUDA_ARCH := -gencode arch=compute_$newest,code=compute_$newest"
for architecture in "${architectures[@]}"; do
    echo "CUDA_ARCH += -gencode arch=compute_$architecture,code=sm_$architecture"
done
part "CUDA's runtime" cuda_runtime.h cudart "'cuda-toolkit[cudart]==$version.*'"
part cuBLAS cublas_v2.h cublas "'cuda-toolkit[cublas]==$version.*'"
part cuRAND curand.h curand "'cuda-toolkit[curand]==$version.*'"
if [ "${USE_NCCL:-0}" = 1 ]; then
    part NCCL nccl.h nccl nvidia-nccl-cu13
    # By this, as the Makefile's own switch would link libnccl.so.
    echo "USE_NCCL :="
    echo "COMMON_FLAGS += -DUSE_NCCL"
fi
