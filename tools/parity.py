#!/usr/bin/env python3
"""Train both nets in several ways, run them in several implementations, compare; `nbcad parity`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
