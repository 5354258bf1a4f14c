#!/bin/bash
# Prints the cuda.mk that Makefile.config includes in a CUDA build: the location of the toolkit's parts, and the cards
# to compile for. If a part is missing, one line on stderr names it and says how to install it.
# Environment, with defaults: CUDA_DIR (/usr/local/cuda), CUDA_ARCH (80 86 89 90), USE_NCCL (empty), NBCAD_CACHE
# (~/.cache/nbcad).
set -euo pipefail
shopt -s inherit_errexit extglob
toolkit=${CUDA_DIR:-/usr/local/cuda}
# NVIDIA's packages for Python, installed here by `pip install --target`.
wheels=${NBCAD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nbcad}/cuda
read -ra architectures <<<"${CUDA_ARCH:-80 86 89 90}"

fail() { echo "caffe: $*" >&2; exit 1; }

nvcc=$toolkit/bin/nvcc
[ -x "$nvcc" ] ||
    fail "nvcc is missing: $nvcc does not exist. Install the CUDA toolkit, 12 or 13, and set CUDA_DIR to it; or run" \
    "pip install --target $wheels 'cuda-toolkit[nvcc,cudart,cccl,cublas,curand]==13.0.*' and set" \
    "CUDA_DIR=$wheels/nvidia/cu13."
version=$("$nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p')
case $version in
    12.* | 13.*) ;;
    *) fail "$nvcc is CUDA $version, but Caffe needs CUDA 12 or 13. Set CUDA_DIR to one of these." ;;
esac
known=$("$nvcc" --list-gpu-arch | sed 's/compute_//' | tr '\n' ' ')
for architecture in "${architectures[@]}"; do
    [[ " $known" == *" $architecture "* ]] ||
        fail "CUDA_ARCH: nvcc $version does not know the architecture $architecture; it knows ${known% }."
done

part() {  # part NAME HEADER LIBRARY PACKAGE: finds it by header and library; PACKAGE is pip's name for it
    local prefix library
    for prefix in "$toolkit" "$wheels"/nvidia/{"cu${version%.*}",nccl} /usr; do
        [ -f "$prefix/include/$2" ] || continue
        for library in "$prefix"/{lib64,lib,"lib/$(uname -m)-linux-gnu"}/"lib$3".so.+([0-9]); do
            [ -f "$library" ] || continue
            # Link to the versioned file: NVIDIA's packages for Python do not have libNAME.so.
            echo "CUDA_LIBRARIES += :${library##*/}"
            echo "INCLUDE_DIRS += $prefix/include"
            echo "LIBRARY_DIRS += ${library%/*}"
            echo "LDFLAGS += -Wl,-rpath,${library%/*}"
            return
        done
    done
    fail "$1 is missing: neither $toolkit nor $wheels has $2 and lib$3.so.*. Install its development package or," \
        "for CUDA 13, run: pip install --target $wheels $4"
}

echo "# nvcc $version"
echo "CPU_ONLY := 0"
echo "CUDA_DIR := $toolkit"
# Cards newer than the newest architecture compile its PTX at their first run.
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
    # Instead of the Makefile's own switch, which would link to libnccl.so.
    echo "USE_NCCL :="
    echo "COMMON_FLAGS += -DUSE_NCCL"
fi
