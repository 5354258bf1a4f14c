#!/usr/bin/env python3
"""Train and measure the nets with one of the paper's numbers changed at a time (an hour; goes on where it was)."""

from pathlib import Path

from nbcad import cli
from nbcad.experiments.ablation.variants import DATASETS
from nbcad.runtime.files import replacing_file


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--out", type=Path, default="runs/ablation", help="folder of the runs, tables and plots")
    arguments.add_argument("--database", type=Path, default="data/samples.sqlite", help="the phantom's sample database")
    arguments.add_argument("--lmdb", type=Path, default="data/lmdb", help="folder of its LMDBs")
    arguments.add_argument(
        "--datasets", nargs="+", choices=DATASETS, default=DATASETS, help="real digits, and the phantom's images"
    )
    options = arguments.parse_args()

    from nbcad.experiments.ablation import runs, tables
    from nbcad.experiments.ablation.datasets import Source

    rows = runs.run_all(options.out, Source(options.database, options.lmdb), options.datasets)
    tables.plot_curves(options.out, rows)
    with replacing_file(options.out / "tables.md") as temporary:
        temporary.write_text(tables.render(rows))
    print(tables.render(rows), end="")
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
