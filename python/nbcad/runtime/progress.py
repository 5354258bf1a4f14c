"""Progress with count, rate and ETA, for a terminal and for a log."""

import os
import sys
from collections.abc import Iterable

from tqdm import tqdm

from nbcad.runtime import verbosity

_LOOK = "NBCAD_PROGRESS"  # "lines": as in a log, where two commands share a terminal


def progress(
    items: Iterable | None = None, *, desc: str, unit: str, total: int | None = None, initial: int = 0
) -> tqdm:
    """Return a progress bar with count, rate and ETA on stderr: in a log one line every 10 s, and none if quiet."""
    terminal = {"file": sys.stderr, "dynamic_ncols": True}
    # A longest interval beyond the shortest: else tqdm's monitor prints each state twice.
    lines = {"file": _Lines(), "mininterval": 10, "maxinterval": 60, "ascii": True, "ncols": 100}
    look = terminal if sys.stderr.isatty() and os.environ.get(_LOOK) != "lines" else lines
    return tqdm(items, desc=desc, unit=unit, total=total, initial=initial, disable=verbosity.quiet(), **look)


class _Lines:
    """A stderr on which each state of a progress bar gets a line of its own."""

    def write(self, text: str) -> None:
        state = text.strip("\r\n ")
        if state:
            sys.stderr.write(state + "\n")

    def flush(self) -> None:
        sys.stderr.flush()
