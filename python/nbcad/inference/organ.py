"""The region of a slice: features of the organ net, classified by an SVM (paper 3.1(2), 3.2)."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline

from nbcad.dicom import Slice
from nbcad.errors import ModelError
from nbcad.imaging.preprocess import organ_inputs
from nbcad.inference.skops_file import read_skops, write_skops
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import Transform, caffe
from nbcad.nets.labels import OTHER
from nbcad.runtime.json_file import ABSENT, read_json, write_json
from nbcad.runtime.paths import ORGAN_NET

TRAIN_VAL = ORGAN_NET / "train_val.prototxt"
DEPLOY = ORGAN_NET / "deploy.prototxt"


@dataclass(frozen=True, slots=True)
class SvmThresholds:
    """The least values of a slice that gets a region."""

    probability: float  # of the most probable region
    familiarity: float  # score of the one-class SVM


@dataclass(frozen=True, slots=True)
class SvmFit:
    """The record of how an SVM was fitted."""

    kernel: str  # "exact", or how it is approximated
    C: float
    gamma: float
    chosen_on_samples: int  # C and gamma
    cross_validation_accuracy: float
    folds: int
    samples: int
    patients: int
    validation_accuracy: float | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True, slots=True)
class SvmDescription:
    """``svm.json``, which docs/formats/svm.schema.json describes."""

    blob: str
    labels: tuple[str, ...]
    thresholds: SvmThresholds
    fit: SvmFit


@dataclass
class OrganSvm:
    """The fitted SVMs, with their thresholds and labels."""

    classifier: CalibratedClassifierCV  # which of the three regions
    familiarity: Pipeline  # one-class SVM: how like a slice is to those of the three regions
    thresholds: SvmThresholds
    blob: str
    labels: list[str]
    fit: SvmFit

    def classify(self, features: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Return the regions of slices.

        Args:
            features: shape (n, d), of `extract_features`.

        Returns:
            n labels, and the calibrated probabilities of the regions, shape (n, regions). A label is ``other`` where
            the most probable region is not probable enough or the slice resembles none of them.
        """
        probabilities = self.classifier.predict_proba(features)
        sure = probabilities.max(axis=1) >= self.thresholds.probability
        sure &= self.familiarity.score_samples(features) >= self.thresholds.familiarity
        best = probabilities.argmax(axis=1)
        return [self.labels[b] if s else OTHER for b, s in zip(best, sure, strict=True)], probabilities


def extract_features(net: caffe.Net, transform: Transform, images: np.ndarray, blob: str) -> np.ndarray:
    """Return the rasterised features of slices.

    Args:
        net: the organ net, deployed.
        transform: of the net, `caffe_net.transform_of`.
        images: uint8, shape (n, size, size), from `preprocess.organ_inputs`.
        blob: "fc7" or "pool3".

    Returns:
        float32, shape (n, 1024) for fc7, (n, 4096) for pool3.
    """
    (features,) = caffe_net.forward(net, transform(images)[:, None], [blob])
    return features.reshape(len(images), -1)


def series_features(net: caffe.Net, transform: Transform, volume: np.ndarray, image: Slice, blob: str) -> np.ndarray:
    """Return the rasterised features of all slices of a series.

    Args:
        net: the organ net, deployed.
        transform: of the net, `caffe_net.transform_of`.
        volume: uint8, shape (n, rows, columns), from `preprocess.enhance`.
        image: any of its slices.
        blob: "fc7" or "pool3".

    Returns:
        float32, shape (n, d), of `extract_features`.
    """
    inputs = organ_inputs(volume, image.geometry, image.spacing, net.blobs["data"].data.shape[-1])
    return extract_features(net, transform, inputs, blob)


def save(svm: OrganSvm, folder: Path) -> None:
    """Write ``svm.skops`` and the readable ``svm.json`` into ``folder``; the same SVM gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    write_skops({"classifier": svm.classifier, "familiarity": svm.familiarity}, folder / "svm.skops")
    write_json(SvmDescription(svm.blob, tuple(svm.labels), svm.thresholds, svm.fit), folder / "svm.json")


def load(folder: Path) -> OrganSvm:
    """Read the files of `save`; nothing in them can run code.

    Raises:
        ModelError: a file is missing, damaged, or holds types other than the SVM's.
    """
    classifier, familiarity = read_skops(folder / "svm.skops", ("classifier", "familiarity"))
    facts = read_json(folder / "svm.json", SvmDescription, ModelError, "run `make train-organ`")
    return OrganSvm(classifier, familiarity, facts.thresholds, facts.blob, list(facts.labels), facts.fit)
