#!/usr/bin/env python3
"""Hold solvers and nets against the paper, line by line; `nbcad paper-diff`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
