#!/usr/bin/env python3
"""Add what a stager falsely finds to its training windows; `nbcad mine-hard-negatives`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
