#!/usr/bin/env python3
"""Convert the SPPIN challenge's volumes to DICOM series with SEGs; `nbcad convert-sppin`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
