"""The measure of likeness to the training data, its limits chosen on the validation patients, and what that data is."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from nbcad.dicom import read_pixels
from nbcad.imaging.preprocess import enhance
from nbcad.inference import organ
from nbcad.inference.organ import OrganSvm
from nbcad.inference.suitability import Likeness, SuitabilityLimits, TrainingData, unlikeness
from nbcad.nets import caffe_net
from nbcad.nets.labels import OTHER
from nbcad.runtime.progress import progress
from nbcad.samples.database import SampleDatabase
from nbcad.samples.images import load_series

SERIES = 60  # of the training patients at most, drawn at random: more change the measure little
COMPONENTS = 50  # at most
ALIKE = 0.99  # share of the validation patients' slices that count as like the training data
MARGIN = 0.9  # a few validation patients do not show how unlike others may be
HARDLY = 0.9  # of the least share of a suited series: with less a series is unsuited
RECOGNISED = 0.5  # of the least share in a recognised region


def choose(sample_database: Path, weights: Path, svm: OrganSvm, n4: bool) -> Likeness:
    """Fit the measure of likeness on training patients, and choose its limits on the validation patients.

    Whole series are taken, with the slices that show none of the regions too.

    Args:
        sample_database: SQLite file.
        weights: caffemodel of the organ net.
        svm: fitted on its features.
        n4: as in preprocessing.

    Raises:
        DatabaseError: there is no training or no validation patient, or a file is gone or changed.
        ModelError: the weights are missing or of another net.
    """
    net = caffe_net.load_net(organ.DEPLOY, weights)
    with SampleDatabase.open(sample_database) as database:
        drawn = np.random.default_rng(0).permutation(_series_on(database, "train"))[:SERIES]
        density = fit_density(np.concatenate(list(_features(database, sorted(drawn.tolist()), net, svm.blob, n4))))
        of_val = list(_features(database, _series_on(database, "val"), net, svm.blob, n4))
    unlike = [unlikeness(density, features) for features in of_val]
    return Likeness(density, choose_limits(unlike, [svm.classify(features)[0] for features in of_val]))


def _series_on(database: SampleDatabase, side: str) -> list[int]:
    """Return the series on one side of the split; all if the split is by image."""
    return [row.series for row in database.series_on(side)] or database.series_numbers()


def _features(
    database: SampleDatabase, numbers: Sequence[int], net: caffe_net.caffe.Net, blob: str, n4: bool
) -> Iterator[np.ndarray]:
    """Yield the features of all slices of each series, shape (n, d)."""
    transform = caffe_net.transform_of(organ.TRAIN_VAL)
    for number in progress(numbers, desc="likeness", unit="series"):
        slices, pixels = read_pixels(load_series(database, number)[0])
        if slices:
            yield organ.series_features(net, transform, enhance(pixels, n4), slices[0], blob)


def fit_density(features: np.ndarray) -> Pipeline:
    """Fit the density of features, of shape (n, d): a Gaussian in few directions with even noise in all others.

    It is the probabilistic PCA of Tipping and Bishop (1999), so that both what is far along the few directions and what
    lies off them is unlike.
    """
    components = min(COMPONENTS, *(n - 1 for n in features.shape))
    return make_pipeline(StandardScaler(), PCA(components, svd_solver="full")).fit(features)


def choose_limits(unlike: Sequence[np.ndarray], organs: Sequence[Sequence[str]]) -> SuitabilityLimits:
    """Choose the limits with which every series of the validation patients is suited.

    Args:
        unlike: of each series the unlikeness of its n slices, shape (n,).
        organs: of each series the regions of its slices, ``other`` included.
    """
    highest = float(np.quantile(np.concatenate(unlike), ALIKE))
    alike = MARGIN * min(float(np.mean(of_slices <= highest)) for of_slices in unlike)
    recognised = min(float(np.mean(np.array(labels) != OTHER)) for labels in organs)
    return SuitabilityLimits(
        unlikeness=highest,
        alike=round(alike, 4),
        hardly_alike=round(HARDLY * alike, 4),
        recognised=round(RECOGNISED * recognised, 4),
    )


def training_data(database: SampleDatabase, slice_steps_mm: Sequence[float]) -> TrainingData:
    """Return what a database's training side is.

    Args:
        database: the sample database.
        slice_steps_mm: distance between slices of each of the validation patients' series that tells it.
    """
    side = database.trained_on()
    ages = None if side.youngest is None or side.oldest is None else (side.youngest, side.oldest)
    steps = (round(min(slice_steps_mm), 2), round(max(slice_steps_mm), 2)) if slice_steps_mm else None
    return TrainingData(side.synthetic, side.patients, ages, side.weightings, steps)
