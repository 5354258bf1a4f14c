#!/usr/bin/env python3
"""Find, place and stage neuroblastoma on DICOM, and write the report; `nbcad infer`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
