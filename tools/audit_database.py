#!/usr/bin/env python3
"""Tell where a sample database's labels come from and who is on which side, and verify it by its files' hashes."""

from pathlib import Path

from nbcad import cli
from nbcad.errors import DatabaseError


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--database", type=Path, default="data/samples.sqlite", help="the sample database")
    arguments.add_argument("--patients", action="store_true", help="print a CSV of the patients (hashed) and no more")
    options = arguments.parse_args()

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


if __name__ == "__main__":
    cli.run(main)
