"""Train again what a run.json tells of and compare the weights; exit code 1 if they are not the same bytes."""

import argparse
from pathlib import Path

from nbcad import cli
from nbcad.runtime import paths

HELP = "repeat a training from its run.json alone, and compare the weights"
EXAMPLES = (
    "nbcad reproduce runs/organ/run.json",
    "nbcad reproduce runs/stage/run.json --out /tmp/again --force",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument("record", type=Path, help="run.json of a training")
    parser.add_argument(
        "--out", type=Path, default=paths.from_here(paths.RUNS / "reproduced"), help="folder of the second training"
    )
    cli.add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Train again, and say whether the weights are the same bytes."""
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
