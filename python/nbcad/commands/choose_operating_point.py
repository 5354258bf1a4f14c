"""Choose on the validation patients what makes the stager's heat a lesion; stored beside the net's weights."""

import argparse
from pathlib import Path

from nbcad import cli
from nbcad.runtime import paths, verbosity

HELP = "choose on the validation patients what makes the stager's heat a lesion"
EXAMPLES = (
    "nbcad choose-operating-point",
    "nbcad choose-operating-point --run runs/beyond_paper/stage",
    "nbcad choose-operating-point --run stage --database samples.sqlite --lmdb lmdb",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument(
        "--run", type=Path, default=paths.from_here(paths.RUNS / "stage"), help="folder of the trained net"
    )
    cli.add_database(parser)
    cli.add_lmdb(parser, "folder of the LMDBs that the net saw")
    cli.add_device(parser)


def run(options: argparse.Namespace) -> None:
    """Choose, and say how many lesions it finds."""
    from nbcad.inference import models
    from nbcad.nets import caffe_net
    from nbcad.runtime.json_file import write_json
    from nbcad.samples import lmdb_io
    from nbcad.training import operating_point

    caffe_net.use_device(options.device)
    n4 = lmdb_io.read_info(options.lmdb).n4
    point = operating_point.choose(options.database, options.run / "final.caffemodel", n4)
    write_json(point, options.run / "operating_point.json")
    models.seal_stage(options.run)
    chosen = point.chosen
    verbosity.note(
        f"{options.run / 'operating_point.json'}: probability {point.threshold}; "
        f"validation: {chosen.hit} of {chosen.true} lesions, {chosen.false} false "
        f"in {point.validation_patients} patients"
    )
