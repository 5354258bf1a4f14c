#!/usr/bin/env python3
"""Tell where a sample database's labels come from, and verify it; `nbcad audit-database`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
