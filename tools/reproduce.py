#!/usr/bin/env python3
"""Repeat a training from its run.json alone, and compare the weights; `nbcad reproduce`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
