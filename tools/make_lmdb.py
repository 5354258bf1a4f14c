#!/usr/bin/env python3
"""Make the LMDBs that the nets train on from the sample database."""

import os
from pathlib import Path

from nbcad import cli
from nbcad.cluster import on


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--database", type=Path, default="data/samples.sqlite", help="the sample database")
    arguments.add_argument("--out", type=Path, default="data/lmdb", help="folder of the LMDBs")
    arguments.add_argument("--n4", action="store_true", help="N4 bias field correction (slow)")
    arguments.add_argument("--workers", type=cli.positive_int, default=os.cpu_count(), help="processes")
    cli.add_dask(arguments)
    cli.add_force(arguments)
    options = arguments.parse_args()

    from nbcad.runtime import parallel
    from nbcad.samples.conversion import convert

    with on(options.dask, parallel.on_cores(options.workers), [options.database]) as each:
        counts = convert(options.database, options.out, options.n4, each, options.force)
    for name, count in counts.items():
        print(f"{options.out / name}: {count} entries")
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
