#!/usr/bin/env python3
"""Build the sample database, or add what is new: which slice is which sample, on which side of the split."""

import argparse
import re
from pathlib import Path

from nbcad import cli
from nbcad.cluster import on
from nbcad.samples.build_run import Options


def _options() -> argparse.Namespace:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--dicom", type=Path, default="data/phantom/dicom", help="folder, zip or file")
    arguments.add_argument(
        "--annotations", type=Path, nargs="+", default=[Path("data/phantom/annotations.csv")], metavar="PATH",
        help="annotation CSVs, DICOM SEGs, RT Structure Sets, masks, or folders of them",
    )  # fmt: skip
    arguments.add_argument("--stages", type=Path, metavar="CSV", help="stage by patient, for all labels but CSVs")
    arguments.add_argument("--out", type=Path, default="data/samples.sqlite", help="the database")
    arguments.add_argument("--seed", type=int, default=1, help="of the split, the windows and the order of the samples")
    arguments.add_argument(
        "--shares",
        type=float,
        nargs=3,
        default=(0.70, 0.15, 0.15),
        metavar=("TRAIN", "VAL", "TEST"),
        help="of patients",
    )
    arguments.add_argument("--folds", type=int, default=0, help="split into so many folds instead of by --shares")
    arguments.add_argument(
        "--fold", type=int, default=0, help="the fold to test on, from 0; the next is for validation"
    )
    arguments.add_argument(
        "--split-by", choices=("patient", "image"), default="patient", help="image: leaks, see docs/samples.md"
    )
    arguments.add_argument(
        "--balance", action="store_true", help="as many training samples of each class as of the rarest"
    )
    arguments.add_argument("--lesions", metavar="REGEX", help="names of segments and ROIs that outline lesions")
    cli.add_dask(arguments)
    arguments.add_argument("--force", action="store_true", help="build anew instead of adding to what stands there")
    options = arguments.parse_args()
    try:
        re.compile(options.lesions or "")
    except re.error as error:
        arguments.error(f"--lesions is no regular expression: {error}")
    if min(options.shares) < 0 or abs(sum(options.shares) - 1) > 1e-6:
        arguments.error("--shares must not be negative and must sum to 1")
    if options.folds and not (options.folds >= 3 and 0 <= options.fold < options.folds):
        arguments.error("--folds must be 0, or 3 or more; --fold is one of 0..folds-1")
    return options


def main() -> int:
    options = _options()

    from nbcad.annotation.files import LESIONS
    from nbcad.samples import build
    from nbcad.samples.split_bias import measure_split_bias
    from nbcad.samples.splitting import BY_IMAGE, SplitPlan

    plan = SplitPlan(options.seed, tuple(options.shares), options.folds, options.fold, options.split_by)
    with on(options.dask, map, [options.dicom]) as each:
        built = build.build(
            options.dicom,
            options.annotations,
            options.out,
            Options(plan, options.balance, options.lesions or LESIONS),
            options.stages,
            options.force,
            each,
        )
    build.print_built(built)
    bias = measure_split_bias(options.out, plan) if plan.by == BY_IMAGE else None
    if bias:
        print(
            f"the nearest training slice names the region of {bias.by_image:.3f} of the test slices rightly; "
            f"of {bias.by_patient:.3f} if the same slices are split by patient"
        )
    return cli.PARTLY_REFUSED if built.problems or built.refused else cli.DONE


if __name__ == "__main__":
    cli.run(main)
