#!/usr/bin/env python3
"""Write a de-identified copy of an MR archive (DICOM PS3.15 Annex E); docs/deidentification.md has the details."""

from pathlib import Path

from nbcad import cli


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("dicom", type=Path, help="folder with the images, or one file")
    arguments.add_argument("--out", type=Path, required=True, help="folder of the copies")
    arguments.add_argument(
        "--key", type=Path, default="data/deidentify.key", help="secret of the new UIDs, IDs and dates; made if missing"
    )
    arguments.add_argument("--annotations", type=Path, help="annotation CSV, to be copied for the new UIDs")
    arguments.add_argument("--patients", type=Path, help="CSV with patient_id,stage,organ, to be copied likewise")
    arguments.add_argument(
        "--keep-characteristics", action="store_true", help="keep age (which stage MS needs), sex, size and weight"
    )
    cli.add_force(arguments)
    options = arguments.parse_args()

    from nbcad.datasets.deidentify import Tables, deidentify
    from nbcad.dicom import REFUSED

    tables = Tables(options.annotations, options.patients)
    files, left_out = deidentify(
        options.dicom, options.out, options.key, tables, options.keep_characteristics, options.force
    )
    refused = [record for record in files if record.status == REFUSED]
    for record in refused:
        print(f"refused: {record.path}: {record.reason}")
    print(f"{options.out}: {len(files) - len(refused)} of {len(files)} files; {len(refused)} refused")
    for name, count in left_out.items():
        print(f"{options.out / name}: {count} left out, as they have no copy")
    return cli.PARTLY_REFUSED if refused else cli.DONE


if __name__ == "__main__":
    cli.run(main)
