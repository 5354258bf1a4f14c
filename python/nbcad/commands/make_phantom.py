"""Generate a phantom: synthetic MR studies of children as DICOM, with annotations."""

import argparse
import os
from pathlib import Path

from nbcad import cli
from nbcad.datasets import VENDORS
from nbcad.runtime import paths, verbosity

HELP = "generate synthetic patients: MR studies as DICOM, with annotations"
EXAMPLES = (
    "nbcad make-phantom",
    "nbcad make-phantom --out /tmp/phantom --patients 12 --seed 7",
    "nbcad make-phantom --out others --vendors canon uih --force",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument("--out", type=Path, default=paths.from_here(paths.DATA / "phantom"), help="folder to write")
    parser.add_argument("--patients", type=cli.positive_int, default=120, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same bytes")
    parser.add_argument("--vendors", nargs="+", choices=VENDORS, default=VENDORS, help="scanners to draw from")
    parser.add_argument(
        "--workers",
        type=cli.positive_int,
        default=len(os.sched_getaffinity(0)),
        help="processes; changes no byte (default: all cores)",
    )
    cli.add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Generate, and say what was made."""
    from nbcad.datasets import phantom
    from nbcad.runtime.files import refuse_existing

    refuse_existing(options.out, options.force)
    phantom.generate(options.out, options.patients, options.seed, tuple(options.vendors), options.workers)
    verbosity.note(f"{options.out}: {options.patients} synthetic patients in dicom/, annotations.csv, patients.csv")
