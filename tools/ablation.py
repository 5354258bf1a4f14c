#!/usr/bin/env python3
"""Train and measure the nets with one of the paper's numbers changed (an hour); `nbcad ablation`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
