"""Write the volumes of the SPPIN 2023 challenge's layout as MR series with SEGs, for make-database."""

import argparse
import sys
from pathlib import Path

from nbcad import cli
from nbcad.runtime import paths, verbosity

HELP = "convert the SPPIN challenge's volumes to DICOM series with SEGs"
EXAMPLES = (
    "nbcad convert-sppin SPPIN",
    "nbcad convert-sppin SPPIN --out sppin_dicom --force",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument("folder", type=Path, help="one folder a patient with T1, T2, b0, b100 and mask")
    parser.add_argument(
        "--out", type=Path, default=paths.from_here(paths.DATA / "sppin"), help="folder of the DICOM files"
    )
    cli.add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Convert, and say which examinations were written and which files were not taken."""
    from nbcad.datasets.sppin import convert
    from nbcad.dicom import REFUSED, USED
    from nbcad.runtime.files import refuse_existing

    refuse_existing(options.out, options.force)
    converted = convert(options.folder, options.out)
    for line in converted.examinations:
        verbosity.note(line)
    for path, (status, reason) in converted.files.items():
        if status == REFUSED:
            print(f"{status}: {path}: {reason}", file=sys.stderr)
        elif status != USED:
            verbosity.hint(f"{status}: {path}: {reason}")
    return cli.PARTLY_REFUSED if any(status == REFUSED for status, _ in converted.files.values()) else cli.DONE
