#!/usr/bin/env python3
"""Generate a phantom data set: children's MR as DICOM, with annotations."""

import os
from pathlib import Path

from nbcad import cli
from nbcad.datasets import phantom
from nbcad.runtime.files import refuse_existing


def main() -> None:
    """Parse, generate, say what was made."""
    arguments = cli.parser(__doc__)
    arguments.add_argument("--out", type=Path, default=Path("data/phantom"), help="folder to write")
    arguments.add_argument("--patients", type=cli.positive_int, default=120, help="how many")
    arguments.add_argument("--seed", type=int, default=1, help="the same seed gives the same bytes")
    arguments.add_argument(
        "--vendors", nargs="+", choices=phantom.ALL, default=phantom.ALL, help="scanners to draw from"
    )
    arguments.add_argument(
        "--workers", type=cli.positive_int, default=len(os.sched_getaffinity(0)), help="processes; changes no byte"
    )
    cli.add_force(arguments)
    given = arguments.parse_args()
    refuse_existing(given.out, given.force)
    phantom.generate(given.out, given.patients, given.seed, tuple(given.vendors), given.workers)
    print(f"{given.out}: {given.patients} synthetic patients in dicom/, annotations.csv, patients.csv")


if __name__ == "__main__":
    cli.run(main)
