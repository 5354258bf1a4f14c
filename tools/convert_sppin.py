#!/usr/bin/env python3
"""Write the volumes of the SPPIN 2023 challenge's layout as MR series with SEGs, for tools/make_database.py."""

import sys
from pathlib import Path

from nbcad import cli
from nbcad.dicom import REFUSED, USED
from nbcad.runtime.files import refuse_existing


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("folder", type=Path, help="one folder a patient with T1, T2, b0, b100 and mask")
    arguments.add_argument("--out", type=Path, default="data/sppin", help="folder of the DICOM files")
    cli.add_force(arguments)
    options = arguments.parse_args()

    from nbcad.datasets.sppin import convert

    refuse_existing(options.out, options.force)
    converted = convert(options.folder, options.out)
    for line in converted.examinations:
        print(line)
    for path, (status, reason) in converted.files.items():
        if status != USED:
            print(f"{status}: {path}: {reason}", file=sys.stderr)
    return cli.PARTLY_REFUSED if any(status == REFUSED for status, _ in converted.files.values()) else cli.DONE


if __name__ == "__main__":
    cli.run(main)
