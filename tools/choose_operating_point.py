#!/usr/bin/env python3
"""Choose on the validation patients what makes the stager's heat a lesion; `nbcad choose-operating-point`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _start import start

if __name__ == "__main__":
    start(__file__)
