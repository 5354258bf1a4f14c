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

    from nbcad import reproduce

    changes = reproduce.changes(options.record)
    for line in changes:
        print(f"not as it was: {line}")
    found = reproduce.reproduce(options.record, options.out, options.force)
    if found.equal:
        print(f"{options.out / reproduce.WEIGHTS}: the same bytes")
        return cli.DONE
    how_far = "" if found.difference is None else f"; the weights differ by up to {found.difference:.1g} of a blob's largest"
    why = "" if changes else ", and nothing is known that has changed"
    print(f"{options.out / reproduce.WEIGHTS}: other bytes{why}{how_far}")
    return cli.FAILED


if __name__ == "__main__":
    cli.run(main)
