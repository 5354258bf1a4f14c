#!/usr/bin/env python3
"""Measure the trained models on the held-out test patients: figures with intervals, plots and one page."""

from pathlib import Path

from nbcad import cli
from nbcad.runtime.files import refuse_existing, replacing_folder


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--models", type=Path, default="runs", help="folder of the trained models")
    arguments.add_argument("--stage", type=Path, metavar="DIR", help="folder of another stager than MODELS/stage")
    arguments.add_argument("--baselines", action="store_true", help="add the baselines (a minute)")
    arguments.add_argument("--relu", type=Path, default="runs/baselines/relu", help="of tools/train_baseline.py")
    arguments.add_argument("--database", type=Path, default="data/samples.sqlite", help="the sample database")
    arguments.add_argument("--lmdb", type=Path, default="data/lmdb", help="folder of the LMDBs, for the baselines")
    arguments.add_argument(
        "--beside", type=Path, nargs="*", default=[], metavar="JSON", help="other models' figures, for the page"
    )
    arguments.add_argument(
        "--out", type=Path, default="runs/metrics.json", help="all figures; page and plots stand beside it"
    )
    cli.add_device(arguments)
    cli.add_force(arguments)
    options = arguments.parse_args()

    from nbcad.evaluation import document, plots
    from nbcad.evaluation.page import write_page
    from nbcad.evaluation.records import gather
    from nbcad.evaluation.table import print_figures
    from nbcad.experiments import baselines
    from nbcad.inference.models import load_models
    from nbcad.runtime.json_file import write_json

    page, drawings = options.out.with_suffix(".html"), options.out.with_name(f"{options.out.stem}_plots")
    for path in (options.out, page, drawings):
        refuse_existing(path, options.force)
    models = load_models(options.models, options.device, options.stage)
    held_against = None
    if options.baselines:
        held_against = baselines.measure(options.database, options.lmdb, models, options.relu)
    folders = {"organ": str(options.models / "organ"), "stage": str(options.stage or options.models / "stage")}
    figures = document.assemble(gather(options.database, models), models, folders, held_against)
    beside = [document.read_beside(path, figures) for path in options.beside]
    drawn = plots.draw(figures)
    with replacing_folder(drawings) as folder:
        for name, svg in drawn.items():
            (folder / f"{name}.svg").write_text(svg)
    write_page(figures, drawn, beside, page)
    write_json(figures, options.out)
    print_figures(figures)
    print(f"figures: {options.out}, page: {page}, plots: {drawings}")
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
