"""Hold solvers and nets against the paper, line by line; exit code 1 if any line differs."""

import argparse
from pathlib import Path

from nbcad import cli
from nbcad.runtime import paths

HELP = "hold solvers and nets against the paper, line by line"
EXAMPLES = (
    "nbcad paper-diff",
    "nbcad paper-diff --solver my_solver.prototxt",
    "nbcad paper-diff --write-tables",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument(
        "--solver", type=Path, metavar="FILE", help="only this solver (without: both shipped solvers and both nets)"
    )
    parser.add_argument(
        "--write-tables",
        action="store_true",
        help="only rewrite the tables of solvers/README.md and models/README.md",
    )


def run(options: argparse.Namespace) -> int:
    """Print each line beside the paper's words, or write the tables."""
    from nbcad.experiments import paper

    if options.write_tables:
        for readme in paper.READMES:
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
        print(paths.shown(path))
        for line in lines_of(path):
            differences += not line.same
            mark = " " if line.same else "!"
            where = f"{line.statement.section} {line.statement}"
            print(f"{mark} {line.key:<13} paper: {line.stated:<10} here: {line.found:<10} {where}")
    print(f"{differences} differences" if differences else "no difference")
    return cli.FAILED if differences else cli.DONE
