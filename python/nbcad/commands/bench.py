"""Measure what the steps cost on this machine."""

import argparse
from pathlib import Path

from nbcad import bench, cli
from nbcad.runtime import paths

HELP = "measure what the steps cost on this machine"
EXAMPLES = (
    "nbcad bench",
    "nbcad bench layers training --size 4000",
    "nbcad bench study --out /tmp/bench.json",
)


class _Parts(tuple[str, ...]):
    """The names of the parts, among which argparse looks up the default, too."""

    def __contains__(self, part: object) -> bool:
        return part == [] or super().__contains__(part)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument(
        "part", nargs="*", choices=_Parts(bench.PARTS), default=[], metavar="PART",
        help=f"what to measure: {', '.join(bench.PARTS)} (default: all)",
    )  # fmt: skip
    parser.add_argument("--size", type=cli.positive_int, default=20000, help="how much each part is given")
    parser.add_argument(
        "--out", type=Path, default=paths.from_here(paths.RUNS / "bench" / "bench.json"), help="figures by part"
    )


def run(options: argparse.Namespace) -> None:
    """Measure, and print the figures."""
    for part, figures in bench.run(options.part or list(bench.PARTS), options.size, options.out).items():
        print(f"{part} (synthetic)")
        for figure in figures:
            print(f"  {figure}")
