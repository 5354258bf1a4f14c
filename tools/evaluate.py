#!/usr/bin/env python3
"""Measure the trained models on the held-out test patients: the paper's five measures, and baselines beside them."""

from pathlib import Path

from nbcad import cli


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--models", type=Path, default="runs", help="folder of the trained models")
    arguments.add_argument("--stage", type=Path, metavar="DIR", help="folder of another stager than MODELS/stage")
    arguments.add_argument("--baselines", action="store_true", help="add linear and untrained baselines (a minute)")
    arguments.add_argument("--database", type=Path, default="data/samples.sqlite", help="the sample database")
    arguments.add_argument("--lmdb", type=Path, default="data/lmdb", help="folder of the LMDBs, for the baselines")
    arguments.add_argument("--out", type=Path, default="runs/metrics.json", help="all figures")
    cli.add_device(arguments)
    options = arguments.parse_args()

    from nbcad import evaluation
    from nbcad.metrics import DEFINITIONS
    from nbcad.models import load_models

    figures = evaluation.evaluate(options.database, load_models(options.models, options.device, options.stage))
    if options.baselines:
        figures["baselines"] = evaluation.baselines(options.database, options.lmdb)
    figures["definitions"] = DEFINITIONS
    evaluation.write(figures, options.out)
    evaluation.print_figures(figures)
    print(DEFINITIONS)
    print(f"figures: {options.out}")
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
