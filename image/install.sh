#!/bin/bash
# Called by the Dockerfile: installs the Python environment in the image's checkout, removes the packages that only
# tests and installing need, and seals the environment (setup.mk).
set -euo pipefail
make caffe
.venv/bin/python -m compileall -q python
mapfile -t unneeded < <(.venv/bin/python image/unneeded.py)
.venv/bin/pip -qq uninstall --yes "${unneeded[@]}"
touch .venv/.sealed
# Mount points that any user may write.
mkdir -p data runs
chmod 777 data runs
