"""Train the baseline with ReLU in place of Sigmoid with the paper's solver, and its SVM, for evaluate (minutes)."""

import argparse
from pathlib import Path

from nbcad import cli
from nbcad.runtime import paths, verbosity

HELP = "train the baseline with ReLU in place of Sigmoid, for evaluate (minutes)"
EXAMPLES = (
    "nbcad train-baseline",
    "nbcad train-baseline --out relu --database samples.sqlite --lmdb lmdb --max-iter 100",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument(
        "--out",
        type=Path,
        default=paths.from_here(paths.RUNS / "baselines" / "relu"),
        help="folder of the results",
    )
    cli.add_database(parser)
    cli.add_lmdb(parser)
    parser.add_argument("--max-iter", type=cli.positive_int, help="instead of the solver's max_iter")
    cli.add_device(parser)
    cli.add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Train, and say how accurate its SVM is."""
    from nbcad.experiments.baselines import train_relu

    svm = train_relu(options.out, options.database, options.lmdb, options.device, options.max_iter, options.force)
    if svm is None:
        return cli.INTERRUPTED
    verbosity.note(f"{options.out / 'svm.json'}: cross-validation {svm.fit.cross_validation_accuracy:.3f}")
    return cli.DONE
