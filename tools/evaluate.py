#!/usr/bin/env python3
"""Measure the trained models on the held-out test patients; `nbcad evaluate`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
