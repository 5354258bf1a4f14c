#!/usr/bin/env python3
"""Measure what the steps cost on this machine."""

from pathlib import Path

from nbcad import bench, cli


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("part", nargs="*", choices=[[], *bench.PARTS], default=[], help="what to measure: all parts")
    arguments.add_argument("--size", type=cli.positive_int, default=20000, help="how much each part is given")
    arguments.add_argument("--out", type=Path, default="runs/bench/bench.json", help="figures by part")
    options = arguments.parse_args()

    for part, figures in bench.run(options.part or list(bench.PARTS), options.size, options.out).items():
        print(f"{part} (synthetic)")
        for figure in figures:
            print(f"  {figure}")
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
