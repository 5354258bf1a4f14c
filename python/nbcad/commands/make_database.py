"""Build the sample database, or add what is new: which slice is which sample, on which side of the split."""

import argparse
import re
from pathlib import Path

from nbcad import cli
from nbcad.runtime import paths, verbosity

HELP = "build the sample database, or add what is new to it"
EXAMPLES = (
    "nbcad make-database",
    "nbcad make-database --dicom DICOM --annotations labels.csv --out samples.sqlite",
    "nbcad make-database --dicom DICOM --annotations SEGS --stages stages.csv --lesions 'tumou?r'",
    "nbcad make-database --folds 5 --fold 0 --out fold0.sqlite",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    phantom = paths.from_here(paths.DATA / "phantom")
    parser.add_argument("--dicom", type=Path, default=phantom / "dicom", help="folder, zip or file")
    parser.add_argument(
        "--annotations", type=Path, nargs="+", default=[phantom / "annotations.csv"], metavar="PATH",
        help="annotation CSVs, DICOM SEGs, RT Structure Sets, masks, or folders of them",
    )  # fmt: skip
    parser.add_argument("--stages", type=Path, metavar="CSV", help="stage by patient, for all labels but CSVs")
    parser.add_argument("--out", type=Path, default=paths.from_here(paths.DATA / "samples.sqlite"), help="the database")
    parser.add_argument("--seed", type=int, default=1, help="of the split, the windows and the order of the samples")
    parser.add_argument(
        "--shares",
        type=float,
        nargs=3,
        default=(0.70, 0.15, 0.15),
        metavar=("TRAIN", "VAL", "TEST"),
        help="of patients",
    )
    parser.add_argument("--folds", type=int, default=0, help="split into so many folds instead of by --shares")
    parser.add_argument("--fold", type=int, default=0, help="the fold to test on, from 0; the next is for validation")
    parser.add_argument(
        "--split-by",
        choices=("patient", "image"),
        default="patient",
        help="image: leaks, see docs/samples.md",
    )
    parser.add_argument(
        "--balance", action="store_true", help="as many training samples of each class as of the rarest"
    )
    parser.add_argument("--lesions", metavar="REGEX", help="names of segments and ROIs that outline lesions")
    cli.add_dask(parser)
    parser.add_argument("--force", action="store_true", help="rebuild the database instead of adding to it")


def run(options: argparse.Namespace) -> int:
    """Build, and say what was added and what was not taken."""
    _check(options)

    from nbcad.annotation.files import LESIONS
    from nbcad.cluster import on
    from nbcad.samples import build
    from nbcad.samples.build_run import Options
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
        verbosity.note(
            f"the nearest training slice names the region of {bias.by_image:.3f} of the test slices rightly; "
            f"of {bias.by_patient:.3f} if the same slices are split by patient"
        )
    return cli.PARTLY_REFUSED if built.problems or built.refused else cli.DONE


def _check(options: argparse.Namespace) -> None:
    """Raise `UsageError` if the options do not go together."""
    try:
        re.compile(options.lesions or "")
    except re.error as error:
        raise cli.UsageError(f"--lesions is no regular expression: {error}") from error
    if min(options.shares) < 0 or abs(sum(options.shares) - 1) > 1e-6:
        raise cli.UsageError("--shares must not be negative and must sum to 1")
    if options.folds and not (options.folds >= 3 and 0 <= options.fold < options.folds):
        raise cli.UsageError("--folds must be 0, or 3 or more; --fold is one of 0..folds-1")
