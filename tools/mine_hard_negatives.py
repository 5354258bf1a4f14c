#!/usr/bin/env python3
"""Add what a stager falsely finds on its training patients to the training windows, for a second training."""

from pathlib import Path

from nbcad import cli
from nbcad.runtime.files import refuse_existing


def main() -> int:
    arguments = cli.parser(__doc__)
    first = "runs/beyond_paper/stage_first"
    arguments.add_argument("--run", type=Path, default=first, help="folder of the trained net")
    arguments.add_argument("--database", type=Path, default="data/samples.sqlite", help="the sample database")
    arguments.add_argument("--lmdb", type=Path, default="data/lmdb", help="folder of the LMDBs that the net saw")
    arguments.add_argument("--out", type=Path, default="data/stage_train_hard", help="the new LMDB")
    arguments.add_argument("--seed", type=int, default=1, help="of the windows' shifts and of the order")
    cli.add_device(arguments)
    cli.add_force(arguments)
    options = arguments.parse_args()

    from nbcad.nets import caffe_net
    from nbcad.training import hard_negatives

    refuse_existing(options.out, options.force)
    caffe_net.use_device(options.device)
    weights = options.run / "final.caffemodel"
    before, hard = hard_negatives.mine(options.database, options.lmdb, weights, options.out, options.seed)
    print(f"{options.out}: {before} training windows and {hard} hard negatives")
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
