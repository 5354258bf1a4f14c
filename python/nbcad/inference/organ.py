"""The region of a slice: features of the organ net, classified by an SVM (paper 3.1(2), 3.2)."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline

from nbcad.errors import ModelError
from nbcad.language.message import message
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import Transform, caffe
from nbcad.nets.labels import OTHER
from nbcad.runtime.files import replacing_file
from nbcad.runtime.json_file import ABSENT, read_json, write_json
from nbcad.runtime.paths import ORGAN_NET

TRAIN_VAL = ORGAN_NET / "train_val.prototxt"
DEPLOY = ORGAN_NET / "deploy.prototxt"
_SCHEMA = "schema.json"  # in a file by skops: its parts and how they belong together
# Types that skops may load besides its defaults of NumPy and scikit-learn.
_TRUSTED = ["sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration"]


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


def save(svm: OrganSvm, folder: Path) -> None:
    """Write ``svm.skops`` and the readable ``svm.json`` into ``folder``; the same SVM gives the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    model = skops.io.dumps({"classifier": svm.classifier, "familiarity": svm.familiarity})
    with replacing_file(folder / "svm.skops") as temporary:
        _write_reproducibly(model, temporary)
    write_json(SvmDescription(svm.blob, tuple(svm.labels), svm.thresholds, svm.fit), folder / "svm.json")


def _write_reproducibly(model: bytes, path: Path) -> None:
    """Write a file of skops with numbers in place of memory addresses, and without times."""
    numbers: dict[str, int] = {}

    def number(address: str) -> int:
        return numbers.setdefault(address, len(numbers))

    def numbered(node: dict) -> dict:
        if "__id__" in node:
            node["__id__"] = number(str(node["__id__"]))
        if isinstance(node.get("file"), str):
            node["file"] = _renamed(node["file"], number)
        return node

    with ZipFile(BytesIO(model)) as made, ZipFile(path, "w") as written:
        schema = json.loads(made.read(_SCHEMA), object_hook=numbered)
        parts = {_renamed(name, number): made.read(name) for name in made.namelist() if name != _SCHEMA}
        for name, content in sorted((parts | {_SCHEMA: json.dumps(schema, indent=2).encode()}).items()):
            written.writestr(ZipInfo(name), content)


def _renamed(name: str, number: Callable[[str], int]) -> str:
    address, suffix = name.split(".")
    return f"{number(address)}.{suffix}"


def load(folder: Path) -> OrganSvm:
    """Read the files of `save`; nothing in them can run code.

    Raises:
        ModelError: a file is missing, damaged, or holds types other than the SVM's.
    """
    model, description = folder / "svm.skops", folder / "svm.json"
    for path in (model, description):
        if not path.is_file():
            raise ModelError(message("{path} does not exist; run `make train-organ`", path=str(path)))
    try:
        fitted = skops.io.load(model, trusted=_TRUSTED)
        classifier, familiarity = fitted["classifier"], fitted["familiarity"]
    except (BadZipFile, ValueError, KeyError, TypeError, OSError) as error:
        reason = message(
            "{path}: the organ SVM cannot be read: {error}", path=str(folder), error=str(error).splitlines()[0]
        )
        raise ModelError(reason) from error
    facts = read_json(description, SvmDescription, ModelError, "run `make train-organ`")
    return OrganSvm(classifier, familiarity, facts.thresholds, facts.blob, list(facts.labels), facts.fit)
