"""Benchmark of the fit of the organ net's SVM by number of samples, with the exact and the approximate kernel."""

import time
import tomllib
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from nbcad.bench import Curve, Figure
from nbcad.bench.study import MODELS
from nbcad.imaging.preprocess import Jitter
from nbcad.inference import organ
from nbcad.nets import caffe_net
from nbcad.runtime.paths import DATA, SVM_CONFIG
from nbcad.samples import lmdb_io
from nbcad.training.organ_svm import approximate_svm, exact_svm

DATABASE, LMDBS = DATA / "samples.sqlite", DATA / "lmdb"
SAMPLES = {"exact": (0.05, 0.15, 0.5), "approximate": (0.15, 0.5, 1.5)}  # of each fit, as multiples of ``size``
GROWTH = 1.2  # largest power of the samples; n log n from 3,000 to 30,000 amounts to 1.11


def measure_fits(folder: Path, size: int, models: Path = MODELS) -> list[Figure | Curve]:
    """Fit SVMs to the features of the training slices and classify the slices of the test patients.

    If there are too few training slices, further jittered copies of them are made.

    Args:
        folder: not used.
        size: see `SAMPLES`.
        models: folder of the trained models.

    Returns:
        Processor seconds of one fit and accuracy by number of samples, and the power of it by which the time grows.
    """
    config = tomllib.loads(SVM_CONFIG.read_text())
    counts = {name: [round(share * size) for share in shares] for name, shares in SAMPLES.items()}
    fitted = organ.load(models / "organ").fit
    features, truth = jittered_features(models / "organ" / "final.caffemodel", "train", max(counts["approximate"]))
    test, test_truth = jittered_features(models / "organ" / "final.caffemodel", "test", 0)
    order = np.random.default_rng(0).permutation(len(truth))
    ways = {
        "exact": exact_svm(fitted.C, fitted.gamma),
        "approximate": approximate_svm(fitted.C, fitted.gamma, config["landmarks"]),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    accuracy: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for name, svm in ways.items():
        for count in counts[name]:
            some = order[:count]
            seconds[name].append((count, fit_s(svm, features[some], truth[some])))
            accuracy[name].append((count, float(svm.score(test, test_truth))))
    (few, few_s), (many, many_s) = seconds["approximate"][0], seconds["approximate"][-1]
    return [
        *(Figure(f"{name}, {n} samples: fit", s, "s") for name, line in seconds.items() for n, s in line),
        *(Figure(f"{name}, {n} samples: accuracy", a, "") for name, line in accuracy.items() for n, a in line),
        Figure("approximate: power of the samples", float(np.log(many_s / few_s) / np.log(many / few)), "", GROWTH),
        Curve("samples", "samples", "processor s of a fit", seconds),
    ]


def jittered_features(weights: Path, split: str, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the fc7 features and labels of a split's samples, and of jittered copies until there are enough.

    Args:
        weights: caffemodel of the organ net.
        split: "train", "val" or "test".
        least: number of features at least.

    Returns:
        float32 of shape (n, 1024), and int of shape (n,).
    """
    net, transform = caffe_net.load_net(organ.DEPLOY, weights), caffe_net.transform_of(organ.TRAIN_VAL)
    images, labels, _ = lmdb_io.read_samples(DATABASE, LMDBS, "organ", split)
    rng, features = np.random.default_rng(1), []
    copies = max(1, -(-least // len(images)))
    for copy in range(copies):
        moved = images if copy == 0 else np.stack([Jitter.draw(rng).apply(image) for image in images])
        features.append(organ.extract_features(net, transform, moved, "fc7"))
    return np.concatenate(features), np.tile(labels, copies)


def fit_s(svm: Pipeline, features: np.ndarray, truth: np.ndarray) -> float:
    """Return the processor seconds of one fit with one thread, as waiting threads are busy and would count."""
    with threadpool_limits(1):
        started = time.process_time()
        svm.fit(features, truth)
        return time.process_time() - started
