#!/usr/bin/env python3
"""Train the baseline with ReLU in place of Sigmoid with the paper's solver, and its SVM (minutes), for evaluate.py."""

from pathlib import Path

from nbcad import cli


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--out", type=Path, default="runs/baselines/relu", help="folder of the results")
    arguments.add_argument("--database", type=Path, default="data/samples.sqlite", help="the sample database")
    arguments.add_argument("--lmdb", type=Path, default="data/lmdb", help="folder of the LMDBs")
    arguments.add_argument("--max-iter", type=cli.positive_int, help="instead of the solver's max_iter")
    cli.add_device(arguments)
    cli.add_force(arguments)
    options = arguments.parse_args()

    from nbcad.experiments.baselines import train_relu

    svm = train_relu(options.out, options.database, options.lmdb, options.device, options.max_iter, options.force)
    if svm is None:
        return cli.INTERRUPTED
    print(f"{options.out / 'svm.json'}: cross-validation {svm.info['cross_validation_accuracy']:.3f}")
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
