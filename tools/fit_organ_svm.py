#!/usr/bin/env python3
"""Fit the SVM on the trained organ net's features: svm.skops and svm.json end up beside the net's weights."""

from pathlib import Path

from nbcad import cli
from nbcad.cluster import on
from nbcad.runtime.files import existing
from nbcad.training.organ_features import features_of
from nbcad.training.organ_svm import fit


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--run", type=Path, default="runs/organ", help="folder of the trained net and of the SVM")
    arguments.add_argument("--blob", choices=["fc7", "pool3"], default="fc7", help="pool3: rasterised convolution maps")
    arguments.add_argument("--database", type=Path, default="data/samples.sqlite", help="the sample database")
    arguments.add_argument("--lmdb", type=Path, default="data/lmdb", help="folder of the LMDBs")
    cli.add_device(arguments)
    cli.add_dask(arguments)
    options = arguments.parse_args()

    from nbcad.inference import models, organ
    from nbcad.nets.labels import organ_labels
    from nbcad.samples import lmdb_io

    weights = existing(options.run / "final.caffemodel", "trained net", "run `make train-organ`")
    data = {s: lmdb_io.read_samples(options.database, options.lmdb, "organ", s) for s in ("train", "val")}
    with on(options.dask, map, [weights]) as each:
        features = {
            s: features_of(weights, options.device, images, options.blob, each) for s, (images, _, _) in data.items()
        }
    svm = fit((features["train"], *data["train"][1:]), features["val"], options.blob, organ_labels())
    svm.info["validation_accuracy"] = float(svm.classifier.score(features["val"], data["val"][1]))
    organ.save(svm, options.run)
    models.seal_organ(options.run)
    accuracy = f"cross-validation {svm.info['cross_validation_accuracy']:.3f}"
    accuracy += f", validation {svm.info['validation_accuracy']:.3f}"
    print(f"{options.run / 'svm.skops'}: {svm.blob}, C {svm.info['C']}, gamma {svm.info['gamma']:.3g}, {accuracy}")
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
