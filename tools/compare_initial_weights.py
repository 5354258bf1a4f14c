#!/usr/bin/env python3
"""Train the organ net from several starts with the paper's solver (half an hour): curves, and a table of accuracies."""

from pathlib import Path

from nbcad import cli


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--out", type=Path, default="runs/initial_weights", help="folder of the trainings and curves"
    )
    arguments.add_argument("--database", type=Path, default="data/samples.sqlite", help="the sample database")
    arguments.add_argument("--lmdb", type=Path, default="data/lmdb", help="folder of the LMDBs")
    arguments.add_argument("--max-iter", type=cli.positive_int, help="instead of the solvers' max_iter")
    cli.add_force(arguments)
    options = arguments.parse_args()

    from nbcad.initial_weights import measure

    cli.refuse_existing(options.out / "initial_weights.csv", options.force)
    rows = measure(options.out, options.database, options.lmdb, max_iter=options.max_iter)
    print("| start | solver | last training loss | softmax | SVM on fc7 | the same, untrained |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        accuracies = " | ".join(f"{row[name]:.3f}" for name in ("softmax", "svm", "svm_untrained"))
        print(f"| {row['variant']} | `{row['solver']}` | {row['train_loss']:.3f} | {accuracies} |")
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
