#!/usr/bin/env python3
"""Fit the SVM on the trained organ net's features; `nbcad fit-organ-svm`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
