#!/usr/bin/env python3
"""Make the LMDBs that the nets train on from the sample database; `nbcad make-lmdb`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
