#!/usr/bin/env python3
"""Build the sample database, or add what is new to it; `nbcad make-database`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
