#!/bin/bash
# In the Dockerfile: puts the Python environment into the checkout where it runs, without what only tests and
# installing need, and seals it (setup.mk).
set -euo pipefail
make caffe
.venv/bin/python -m compileall -q python
mapfile -t unneeded < <(.venv/bin/python image/unneeded.py)
.venv/bin/pip -qq uninstall --yes "${unneeded[@]}"
touch .venv/.sealed
# Mount points, for any user to write.
mkdir -p data runs
chmod 777 data runs
