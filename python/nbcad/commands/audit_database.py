"""Tell where a sample database's labels come from and who is on which side, and verify it by its files' hashes."""

import argparse

from nbcad import cli
from nbcad.errors import DatabaseError

HELP = "tell where a sample database's labels come from, and verify it"
EXAMPLES = (
    "nbcad audit-database",
    "nbcad audit-database --database samples.sqlite",
    "nbcad audit-database --patients > patients.csv",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    cli.add_database(parser)
    parser.add_argument("--patients", action="store_true", help="print a CSV of the patients (hashed) and no more")


def run(options: argparse.Namespace) -> int:
    """Describe and verify the database, or list its patients."""
    from nbcad.samples import audit

    if options.patients:
        print("\n".join(audit.patients(options.database)))
        return cli.DONE
    print("\n".join(audit.describe(options.database)))
    problems = audit.audit(options.database)
    for problem in problems:
        print(f"problem: {problem}")
    if problems:
        raise DatabaseError(f"{len(problems)} things are not as {options.database} says; the first: {problems[0]}")
    print("every image and label file is as it was; no image and no patient is on two sides")
    return cli.DONE
