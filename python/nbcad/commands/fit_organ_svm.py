"""Fit the SVM on the trained organ net's features: svm.skops and svm.json end up beside the net's weights."""

import argparse
from dataclasses import replace
from pathlib import Path

from nbcad import cli
from nbcad.runtime import paths, verbosity

HELP = "fit the SVM on the trained organ net's features"
EXAMPLES = (
    "nbcad fit-organ-svm",
    "nbcad fit-organ-svm --run runs/organ --blob pool3",
    "nbcad fit-organ-svm --run organ --database samples.sqlite --lmdb lmdb --dask local:4",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument(
        "--run",
        type=Path,
        default=paths.from_here(paths.RUNS / "organ"),
        help="folder of the trained net and of the SVM",
    )
    parser.add_argument("--blob", choices=["fc7", "pool3"], default="fc7", help="pool3: rasterised convolution maps")
    cli.add_database(parser)
    cli.add_lmdb(parser)
    cli.add_device(parser)
    cli.add_dask(parser)


def run(options: argparse.Namespace) -> None:
    """Fit, and say what was chosen and how accurate it is."""
    from nbcad.cluster import on
    from nbcad.inference import models, organ
    from nbcad.nets.labels import organ_labels
    from nbcad.runtime.files import existing
    from nbcad.samples import lmdb_io
    from nbcad.training import suitability
    from nbcad.training.organ_features import features_of
    from nbcad.training.organ_svm import fit

    weights = existing(options.run / "final.caffemodel", "trained net", "run `make train-organ`")
    data = {s: lmdb_io.read_samples(options.database, options.lmdb, "organ", s) for s in ("train", "val")}
    with on(options.dask, map, [weights]) as each:
        features = {
            s: features_of(weights, options.device, images, options.blob, each) for s, (images, _, _) in data.items()
        }
    svm = fit((features["train"], *data["train"][1:]), features["val"], options.blob, organ_labels())
    right = float(svm.classifier.score(features["val"], data["val"][1]))
    svm.fit = replace(svm.fit, validation_accuracy=right)
    organ.save(svm, options.run)
    likeness = suitability.choose(options.database, weights, svm, lmdb_io.read_info(options.lmdb).n4)
    likeness.save(options.run)
    models.seal_organ(options.run)
    accuracy = f"cross-validation {svm.fit.cross_validation_accuracy:.3f}, validation {right:.3f}"
    verbosity.note(f"{options.run / 'svm.skops'}: {svm.blob}, C {svm.fit.C}, gamma {svm.fit.gamma:.3g}, {accuracy}")
    limits = likeness.limits
    verbosity.note(
        f"{options.run / 'suitability.json'}: a suited series has {limits.alike:.0%} of its slices like these"
    )
