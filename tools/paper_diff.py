#!/usr/bin/env python3
"""Hold solvers and nets against the paper, line by line; exit code 1 if any line differs."""

from pathlib import Path

from nbcad import cli


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--solver", type=Path, metavar="FILE", help="only this solver (without: both shipped solvers and both nets)"
    )
    arguments.add_argument(
        "--write-tables",
        action="store_true",
        help="only make the tables of solvers/README.md and models/README.md anew",
    )
    options = arguments.parse_args()

    from nbcad.experiments import paper

    if options.write_tables:
        for readme in map(Path, paper.READMES):
            readme.write_text(paper.with_tables(readme.read_text()))
        return cli.DONE
    if options.solver:
        files = {options.solver: paper.solver_lines}
    else:
        files = dict.fromkeys(paper.SOLVERS, paper.solver_lines)
        files |= dict.fromkeys(paper.ORGAN_NETS, paper.organ_net_lines)
        files |= dict.fromkeys(paper.STAGE_NETS, paper.stage_net_lines)
    differences = 0
    for path, lines_of in files.items():
        print(path)
        for line in lines_of(path):
            differences += not line.same
            mark = " " if line.same else "!"
            where = f"{line.statement.section} {line.statement}"
            print(f"{mark} {line.key:<13} paper: {line.stated:<10} here: {line.found:<10} {where}")
    print(f"{differences} differences" if differences else "no difference")
    return cli.FAILED if differences else cli.DONE


if __name__ == "__main__":
    cli.run(main)
