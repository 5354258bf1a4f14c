#!/bin/bash
# Fails, and says what to do, unless $PYTHON is the Python for which Debian 12 compiles Boost.Python.
set -euo pipefail
found=$("$PYTHON" -c 'import sys; print("%d.%d in %s" % (*sys.version_info[:2], sys.base_prefix))' 2>/dev/null) ||
    found="not a Python that runs"
if [ "$found" != "3.11 in /usr" ]; then
    echo "caffe: PYTHON=$PYTHON is $found; Caffe needs the Python 3.11 that Debian 12 installs in /usr." \
        "Set PYTHON to that one, or use the Dockerfile." >&2
    exit 1
fi
