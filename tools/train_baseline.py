#!/usr/bin/env python3
"""Train the baseline with ReLU in place of Sigmoid, for evaluate (minutes); `nbcad train-baseline`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
