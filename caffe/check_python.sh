#!/bin/bash
# Fails, with what to do, unless $PYTHON is the Python that Debian 12 compiles Boost.Python for.
set -euo pipefail
found=$("$PYTHON" -c 'import sys; print("%d.%d in %s" % (*sys.version_info[:2], sys.base_prefix))' 2>/dev/null) ||
    found="not there"
if [ "$found" != "3.11 in /usr" ]; then
    echo "caffe: PYTHON=$PYTHON is $found; Caffe is built for the Python 3.11 that Debian 12 installs in /usr." \
        "Set PYTHON to that one, or use the Dockerfile." >&2
    exit 1
fi
