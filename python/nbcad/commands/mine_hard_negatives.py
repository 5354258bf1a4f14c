"""Add what a stager falsely finds on its training patients to the training windows, for a second training."""

import argparse
from pathlib import Path

from nbcad import cli
from nbcad.runtime import paths, verbosity

HELP = "add what a stager falsely finds to its training windows"
EXAMPLES = (
    "nbcad mine-hard-negatives",
    "nbcad mine-hard-negatives --run stage_first --out stage_train_hard --seed 2",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument(
        "--run",
        type=Path,
        default=paths.from_here(paths.RUNS / "beyond_paper" / "stage_first"),
        help="folder of the trained net",
    )
    cli.add_database(parser)
    cli.add_lmdb(parser, "folder of the LMDBs that the net saw")
    parser.add_argument(
        "--out", type=Path, default=paths.from_here(paths.DATA / "stage_train_hard"), help="the new LMDB"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the windows' shifts and of the order")
    cli.add_device(parser)
    cli.add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Mine, and say how many windows there are now."""
    from nbcad.nets import caffe_net
    from nbcad.runtime.files import refuse_existing
    from nbcad.training import hard_negatives

    refuse_existing(options.out, options.force)
    caffe_net.use_device(options.device)
    weights = options.run / "final.caffemodel"
    before, hard = hard_negatives.mine(options.database, options.lmdb, weights, options.out, options.seed)
    verbosity.note(f"{options.out}: {before} training windows and {hard} hard negatives")
