"""Train both nets in four ways and run them in up to four implementations; exit code 1 if they part."""

import argparse
import tempfile
from pathlib import Path

from nbcad import cli
from nbcad.runtime import paths

HELP = "train both nets in several ways, run them in several implementations, compare"
EXAMPLES = (
    "nbcad parity",
    "nbcad parity --models runs --lmdb data/lmdb --iterations 20",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument(
        "--models", type=Path, default=paths.from_here(paths.RUNS), help="folder with organ/ and stage/, trained"
    )
    cli.add_lmdb(parser, "LMDBs whose test images the nets are given")
    parser.add_argument("--iterations", type=cli.positive_int, default=50, help="of each training")


def run(options: argparse.Namespace) -> int:
    """Print how far each way lies from the reference."""
    import numpy as np

    from nbcad.experiments import paper, parity
    from nbcad.inference import heat, organ
    from nbcad.nets.caffe_net import transform_of
    from nbcad.samples import lmdb_io

    nets = {"organ": (organ.DEPLOY, organ.TRAIN_VAL), "stage": (heat.DEPLOY, heat.TRAIN_VAL)}
    parted = 0

    def compare(net: str, way: str, apart: float, bound: float) -> None:
        nonlocal parted
        parted += apart > bound
        print(f"{net:<6} {way:<47} {apart:.1e}   at most {bound:g}{': EXCEEDED' if apart > bound else ''}")

    print(f"Largest relative difference of a loss from that of {parity.REFERENCE}, {options.iterations} iterations")
    for solver_file, name in zip(paper.SOLVERS, nets, strict=True):
        with tempfile.TemporaryDirectory() as folder:
            found = parity.losses(solver_file, Path(folder), options.iterations)
        expected = found.pop(parity.REFERENCE)
        for way, values in found.items():
            compare(name, way, float(np.max(np.abs(values / expected - 1))), parity.bound(way))
    print("Largest difference of a probability from that of the stock layers, 64 test images")
    for name, (deploy, train_val) in nets.items():
        images = transform_of(train_val)(lmdb_io.read(options.lmdb / f"{name}_test")[0][:64])[:, None]
        found = parity.answers(deploy, options.models / name / "final.caffemodel", images)
        expected = found.pop("stock")
        for way, values in found.items():
            compare(name, way, float(np.abs(values - expected).max()), parity.ANSWERS_APART)
    return cli.FAILED if parted else cli.DONE
