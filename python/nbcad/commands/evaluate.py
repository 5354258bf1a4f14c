"""Measure the trained models on the held-out test patients: figures with intervals, plots and one page."""

import argparse
from pathlib import Path

from nbcad import cli
from nbcad.runtime import paths, verbosity

HELP = "measure the trained models on the held-out test patients"
EXAMPLES = (
    "nbcad evaluate",
    "nbcad evaluate --baselines --force",
    "nbcad evaluate --stage runs/beyond_paper/stage --out beyond/metrics.json --beside runs/metrics.json",
    "nbcad evaluate --database other.sqlite --out other/metrics.json",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    cli.add_models(parser)
    parser.add_argument("--baselines", action="store_true", help="add the baselines (a minute)")
    parser.add_argument(
        "--relu",
        type=Path,
        default=paths.from_here(paths.RUNS / "baselines" / "relu"),
        help="folder that train-baseline wrote",
    )
    cli.add_database(parser)
    cli.add_lmdb(parser, "folder of the LMDBs, for the baselines")
    parser.add_argument(
        "--beside", type=Path, nargs="*", default=[], metavar="JSON", help="other models' figures, for the page"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=paths.from_here(paths.RUNS / "metrics.json"),
        help="all figures; page and plots stand beside it",
    )
    cli.add_device(parser)
    cli.add_force(parser)


def run(options: argparse.Namespace) -> None:
    """Measure, and print the table of figures."""
    from nbcad.evaluation import document, plots
    from nbcad.evaluation.page import write_page
    from nbcad.evaluation.records import gather
    from nbcad.evaluation.table import print_figures
    from nbcad.evaluation.types import ModelFolders
    from nbcad.experiments import baselines
    from nbcad.inference.models import load_models
    from nbcad.runtime.files import refuse_existing, replacing_folder
    from nbcad.runtime.json_file import write_json

    page, drawings = options.out.with_suffix(".html"), options.out.with_name(f"{options.out.stem}_plots")
    for path in (options.out, page, drawings):
        refuse_existing(path, options.force)
    models = load_models(options.models, options.device, options.stage)
    held_against = None
    if options.baselines:
        held_against = baselines.measure_baselines(options.database, options.lmdb, models, options.relu)
    organ, stage = options.models / "organ", options.stage or options.models / "stage"
    named = ModelFolders(paths.from_root(organ), paths.from_root(stage))
    figures = document.assemble(gather(options.database, models), models, named, held_against)
    beside = [document.read_beside(path, figures) for path in options.beside]
    drawn = plots.draw(figures)
    with replacing_folder(drawings) as folder:
        for name, svg in drawn.items():
            (folder / f"{name}.svg").write_text(svg)
    write_page(figures, drawn, beside, page)
    write_json(figures, options.out)
    print_figures(figures)
    verbosity.note(f"figures: {options.out}, page: {page}, plots: {drawings}")
