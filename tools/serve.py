#!/usr/bin/env python3
"""Run a DICOM node that analyses what it receives; `nbcad serve`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
