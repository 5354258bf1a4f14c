"""Make the LMDBs that the nets train on from the sample database."""

import argparse
import os
from pathlib import Path

from nbcad import cli
from nbcad.runtime import paths, verbosity

HELP = "make the LMDBs that the nets train on from the sample database"
EXAMPLES = (
    "nbcad make-lmdb",
    "nbcad make-lmdb --database samples.sqlite --out lmdb --workers 4",
    "nbcad make-lmdb --n4 --dask local:4 --force",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    cli.add_database(parser)
    parser.add_argument("--out", type=Path, default=paths.from_here(paths.DATA / "lmdb"), help="folder of the LMDBs")
    parser.add_argument("--n4", action="store_true", help="N4 bias field correction (slow)")
    parser.add_argument(
        "--workers", type=cli.positive_int, default=os.cpu_count(), help="processes (default: all cores)"
    )
    cli.add_dask(parser)
    cli.add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Convert, and say how many entries each LMDB has."""
    from nbcad.cluster import on
    from nbcad.runtime import parallel
    from nbcad.samples.conversion import convert

    with on(options.dask, parallel.on_cores(options.workers), [options.database]) as each:
        counts = convert(options.database, options.out, options.n4, each, options.force)
    for name, count in counts.items():
        verbosity.note(f"{options.out / name}: {count} entries")
