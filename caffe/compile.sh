#!/bin/bash
# Compiles the edited sources in DIR and tries the results: compile.sh DIR NUMPY_REQUIREMENT. Called by build.sh.
set -euo pipefail
cd "$1"

# pycaffe is compiled against the NumPy of the lock file, in its own environment so as not to wait for .venv.
"$PYTHON" -m venv ../venv
../venv/bin/pip -q install --no-deps --only-binary :all: --require-hashes -r "$2"
NUMPY_INCLUDE=$(../venv/bin/python -c 'import numpy; print(numpy.get_include())')
export NUMPY_INCLUDE

# Caffe's Makefile lists this directory, although nothing in it is built.
mkdir -p 'matlab/+caffe/private'
# A calling make must not pass its jobs and variables on.
unset MAKEFLAGS MFLAGS MAKELEVEL
make .build_release/src/precompiled.hpp.gch
CXXFLAGS="-include .build_release/src/precompiled.hpp" make -j"$(nproc)" \
    .build_release/lib/libcaffe.so.1.0.0 .build_release/tools/caffe.bin .build_release/tools/caffe py
find .build_release \( -name '*.o' -o -name '*.d' -o -name '*.gch' -o -name '*.warnings.txt' \) -delete

build/tools/caffe --version
../venv/bin/python -W error - <<'EOF'
from importlib import machinery, util

loader = machinery.ExtensionFileLoader("_caffe", "python/caffe/_caffe.so")
module = util.module_from_spec(util.spec_from_loader("_caffe", loader))
loader.exec_module(module)
print("_caffe", module.__version__)
EOF
"$PYTHON" -m compileall -q python/caffe
