"""Write a de-identified copy of an MR archive (DICOM PS3.15 Annex E); docs/deidentification.md has the details."""

import argparse
from pathlib import Path

from nbcad import cli
from nbcad.runtime import paths, verbosity

HELP = "write a de-identified copy of an MR archive"
EXAMPLES = (
    "nbcad deidentify ARCHIVE --out deidentified",
    "nbcad deidentify ARCHIVE --out deidentified --annotations labels.csv --patients patients.csv",
    "nbcad deidentify ARCHIVE --out deidentified --key /secure/site.key --keep-characteristics",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument("dicom", type=Path, help="folder with the images, or one file")
    parser.add_argument("--out", type=Path, required=True, help="folder of the copies")
    parser.add_argument(
        "--key",
        type=Path,
        default=paths.from_here(paths.DATA / "deidentify.key"),
        help="secret of the new UIDs, IDs and dates; made if missing",
    )
    parser.add_argument("--annotations", type=Path, help="annotation CSV, to be copied for the new UIDs")
    parser.add_argument("--patients", type=Path, help="CSV with patient_id,stage,organ, to be copied likewise")
    parser.add_argument(
        "--keep-characteristics", action="store_true", help="keep age (which stage MS needs), sex, size and weight"
    )
    cli.add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Copy, and say what was refused and left out."""
    from nbcad.datasets.deidentify import Tables, deidentify
    from nbcad.dicom import REFUSED

    tables = Tables(options.annotations, options.patients)
    files, left_out = deidentify(
        options.dicom, options.out, options.key, tables, options.keep_characteristics, options.force
    )
    refused = [record for record in files if record.status == REFUSED]
    for record in refused:
        print(f"refused: {record.path}: {record.reason}")
    verbosity.note(f"{options.out}: {len(files) - len(refused)} of {len(files)} files; {len(refused)} refused")
    for name, count in left_out.items():
        verbosity.note(f"{options.out / name}: {count} left out, as they have no copy")
    return cli.PARTLY_REFUSED if refused else cli.DONE
