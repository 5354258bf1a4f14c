#!/usr/bin/env python3
"""Build the sample database: which slice of which patient is which sample, on which side of the split."""

from pathlib import Path

from nbcad import cli


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--dicom", type=Path, default="data/phantom/dicom", help="folder, zip or file")
    arguments.add_argument("--annotations", type=Path, default="data/phantom/annotations.csv", help="annotation CSV")
    arguments.add_argument("--out", type=Path, default="data/samples.sqlite", help="the database")
    arguments.add_argument("--seed", type=int, default=1, help="of the split, the windows and the order of the samples")
    cli.add_force(arguments)
    options = arguments.parse_args()

    from nbcad.database import build

    cli.refuse_existing(options.out, options.force)
    counts = build(options.dicom, options.annotations, options.out, options.seed)
    for task, splits in counts.items():
        for split, classes in splits.items():
            print(f"{task}_{split}: " + ", ".join(f"{name} {count}" for name, count in classes.items()))
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
