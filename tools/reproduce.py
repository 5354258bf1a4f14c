#!/usr/bin/env python3
"""Train again what a run.json tells of and compare the weights; exit code 1 if they are not the same bytes."""

from pathlib import Path

from nbcad import cli


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("record", type=Path, help="run.json of a training")
    arguments.add_argument("--out", type=Path, default="runs/reproduced", help="folder of the second training")
    cli.add_force(arguments)
    options = arguments.parse_args()

    from nbcad.experiments import reproduce

    changes = reproduce.changes(options.record)
    for line in changes:
        print(f"not as it was: {line}")
    found = reproduce.reproduce(options.record, options.out, options.force)
    if found.equal:
        print(f"{options.out / reproduce.WEIGHTS}: the same bytes")
        return cli.DONE
    print(f"{options.out / reproduce.WEIGHTS}: other bytes")
    if found.difference is not None:
        print(f"the weights differ by up to {found.difference:.1g} of the largest of their blob")
    return cli.FAILED


if __name__ == "__main__":
    cli.run(main)
