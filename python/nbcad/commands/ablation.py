"""Train and measure the nets with one of the paper's numbers changed at a time.

It takes an hour; when it is run again, it goes on where it was.
"""

import argparse
from pathlib import Path

from nbcad import cli
from nbcad.experiments.ablation import DATASETS
from nbcad.runtime import paths

HELP = "train and measure the nets with one of the paper's numbers changed (an hour)"
EXAMPLES = (
    "nbcad ablation",
    "nbcad ablation --out ablation --datasets digits mnist",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument(
        "--out",
        type=Path,
        default=paths.from_here(paths.RUNS / "ablation"),
        help="folder of the runs, tables and plots",
    )
    cli.add_database(parser, "the phantom's sample database")
    cli.add_lmdb(parser, "folder of its LMDBs")
    parser.add_argument(
        "--datasets", nargs="+", choices=DATASETS, default=DATASETS, help="real digits, and the phantom's images"
    )


def run(options: argparse.Namespace) -> None:
    """Run what was not run before, and print the tables."""
    from nbcad.experiments.ablation import runs, tables
    from nbcad.experiments.ablation.datasets import Source
    from nbcad.runtime.files import replacing_file

    rows = runs.run_all(options.out, Source(options.database, options.lmdb), options.datasets)
    tables.plot_curves(options.out, rows)
    with replacing_file(options.out / "tables.md") as temporary:
        temporary.write_text(tables.render(rows))
    print(tables.render(rows), end="")
