"""Tell where a sample database's labels come from and who is on which side, and verify it by its files' hashes."""

import argparse
from pathlib import Path

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
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--patients", action="store_true", help="print a CSV of the patients (hashed) and no more")
    instead.add_argument(
        "--phantom",
        action="store_true",
        help="check only whether it was made of data/phantom; end with 1 if it is of other images",
    )


def run(options: argparse.Namespace) -> int:
    """Describe and verify the database, or answer the one question that was asked."""
    if options.phantom:
        return _ask_for_the_phantom(options.database)

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


def _ask_for_the_phantom(path: Path) -> int:
    """Raise `DatabaseError` unless a database was made of data/phantom alone."""
    from nbcad.samples.database import SampleDatabase
    from nbcad.samples.database_checks import is_of_the_embedded_phantom

    with SampleDatabase.open(path) as database:
        if not is_of_the_embedded_phantom(database):
            raise DatabaseError(f"{path} is of other images than data/phantom")
    print(f"{path} was made of data/phantom")
    return cli.DONE
