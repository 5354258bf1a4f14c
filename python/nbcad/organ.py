"""The region of a slice: features of the organ net, sorted by an SVM (paper 3.1(2), 3.2)."""

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
import skops.io
from sklearn.calibration import CalibratedClassifierCV
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics import euclidean_distances
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, OneClassSVM

from nbcad import caffe_net, cli, machine
from nbcad.caffe_net import Transform, caffe
from nbcad.errors import ModelError
from nbcad.labels import OTHER
from nbcad.parallel import Map

TRAIN_VAL = "models/organ_net/train_val.prototxt"
DEPLOY = "models/organ_net/deploy.prototxt"
SVM_CONFIG = "models/organ_svm/svm.toml"
_KERNEL_CACHE_MB = 1000
_SCHEMA = "schema.json"  # of a file by skops: what its parts are and how they hang together
_SLICES_A_PART = 8 * caffe_net.BATCH  # whole batches, so that parts change no bit of a feature

# What skops may load besides NumPy and scikit-learn's own defaults.
_TRUSTED = ["sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration"]


@dataclass
class OrganSvm:
    """The fitted SVMs with what is needed to use them."""

    classifier: CalibratedClassifierCV  # which of the three regions
    familiarity: Pipeline  # one-class SVM: how much a slice is like those of the three regions
    thresholds: dict[str, float]  # least "probability" and least "familiarity" of a slice that gets a region
    blob: str
    labels: list[str]
    info: dict  # of the fit: chosen C and gamma, accuracy in cross-validation, numbers of samples

    def sort(self, features: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Regions of slices.

        Args:
            features: shape (n, d), of `extract_features`.

        Returns:
            n labels, ``other`` where the most probable region is not probable enough or the slice is like none, and the
            calibrated probabilities of the regions, shape (n, regions).
        """
        probabilities = self.classifier.predict_proba(features)
        sure = probabilities.max(axis=1) >= self.thresholds["probability"]
        sure &= self.familiarity.score_samples(features) >= self.thresholds["familiarity"]
        best = probabilities.argmax(axis=1)
        return [self.labels[b] if s else OTHER for b, s in zip(best, sure, strict=True)], probabilities


def extract_features(net: caffe.Net, transform: Transform, images: np.ndarray, blob: str) -> np.ndarray:
    """Features of slices, rasterised.

    Args:
        net: the organ net, deployed.
        transform: of the net, `caffe_net.transform_of`.
        images: uint8, shape (n, size, size), from `preprocess.organ_input`.
        blob: "fc7" or "pool3".

    Returns:
        float32, shape (n, 1024) for fc7, (n, 4096) for pool3.
    """
    (features,) = caffe_net.forward(net, transform(images)[:, None], [blob])
    return features.reshape(len(images), -1)


@dataclass(frozen=True)
class _Part:
    """Some slices whose features are wanted."""

    weights: Path
    weights_sha256: str  # a worker that lives on must not take the net of an earlier training
    device: str
    images: np.ndarray
    blob: str


def features_of(weights: Path, device: str, images: np.ndarray, blob: str, each: Map) -> np.ndarray:
    """`extract_features` of a trained net's file, some slices after others, wherever ``each`` computes.

    Args:
        weights: caffemodel of the organ net.
        device: "cpu" or "cuda:N".
        images: uint8, shape (n, size, size).
        blob: "fc7" or "pool3".
        each: loads the net once in each process.

    Raises:
        ModelError: the weights do not fit.
        DeviceError: the device is not there.
        WorkerError: see `parallel.Map`.
    """
    digest = machine.sha256([weights])
    parts = (
        _Part(weights.absolute(), digest, device, images[first : first + _SLICES_A_PART], blob)
        for first in range(0, len(images), _SLICES_A_PART)
    )
    return np.concatenate(list(each(_features, parts)))


def _features(part: _Part) -> np.ndarray:
    net = _kept_net(part.weights, part.weights_sha256, part.device)
    return extract_features(net, caffe_net.transform_of(TRAIN_VAL), part.images, part.blob)


@lru_cache(maxsize=1)
def _kept_net(weights: Path, sha256: str, device: str) -> caffe.Net:
    if machine.sha256([weights]) != sha256:
        raise ModelError(f"{weights} is not the same file for all workers")
    caffe_net.use_device(device)
    return caffe_net.load_net(DEPLOY, weights)


def fit(
    train: tuple[np.ndarray, np.ndarray, np.ndarray],
    val_features: np.ndarray,
    blob: str,
    labels: list[str],
    config: str | Path = SVM_CONFIG,
) -> OrganSvm:
    """Fit both SVMs on the training samples and set their thresholds on the validation samples.

    C and gamma are chosen by cross-validation and the probabilities calibrated by Platt's sigmoid, in both with whole
    patients held out. Beyond ``exact_up_to`` samples the classifier's kernel is approximated, so that time and memory
    grow in proportion to them. C, gamma and familiarity come from ``choose_on`` samples at most.

    Args:
        train: features of shape (n, d), their labels as int and their patients, each of shape (n,).
        val_features: shape (m, d).
        blob: which features these are.
        labels: names of the regions.
        config: grid and shares.

    Raises:
        ModelError: fewer patients than folds, or a region without samples in a fold.
    """
    with Path(config).open("rb") as file:
        grid = tomllib.load(file)
    features, truth, patients = train
    splits = folds(train, grid["folds"])
    few = some_patients(patients, grid["choose_on"])
    chosen_on = features[few], truth[few], patients[few]
    c, gamma, accuracy = choose(features[few], truth[few], folds(chosen_on, grid["folds"]), grid)
    exact = len(truth) <= grid["exact_up_to"]
    svm = exact_svm(c, gamma) if exact else approximate_svm(c, gamma, grid["landmarks"])
    # One approximate fit after the other, as each takes gigabytes.
    classifier = CalibratedClassifierCV(svm, cv=splits, ensemble=False, n_jobs=-1 if exact else 1).fit(features, truth)
    one_class = OneClassSVM(gamma=gamma, nu=1 - grid["coverage"])
    familiarity = make_pipeline(StandardScaler(), one_class).fit(features[few])
    scores = {
        "probability": classifier.predict_proba(val_features).max(axis=1),
        "familiarity": familiarity.score_samples(val_features),
    }
    thresholds = {name: float(np.quantile(values, 1 - grid["coverage"])) for name, values in scores.items()}
    info = {
        "kernel": "exact" if exact else f"Nystroem, {grid['landmarks']} landmarks",
        "C": c,
        "gamma": gamma,
        "chosen_on_samples": len(few),
        "cross_validation_accuracy": accuracy,
        "folds": len(splits),
        "samples": len(truth),
        "patients": len(np.unique(patients)),
    }
    return OrganSvm(classifier, familiarity, thresholds, blob, labels, info)


def exact_svm(c: float, gamma: float) -> Pipeline:
    """The SVM with its RBF kernel, whose time grows with the square of the samples."""
    return make_pipeline(StandardScaler(), SVC(C=c, gamma=gamma, cache_size=_KERNEL_CACHE_MB))


def approximate_svm(c: float, gamma: float, landmarks: int) -> Pipeline:
    """A linear SVM on the RBF kernel's values at some of the samples (Nystroem); its time grows with the samples."""
    kernel = Nystroem(gamma=gamma, n_components=landmarks, random_state=0)
    return make_pipeline(StandardScaler(), kernel, LinearSVC(C=c, dual=False))


def some_patients(patients: np.ndarray, most: int) -> np.ndarray:
    """Ascending indices of all samples, or of those of whole patients, drawn at random, that have ``most`` together."""
    numbers = _numbered(patients)
    counts = np.bincount(numbers)
    order = np.random.default_rng(0).permutation(len(counts))
    kept = order[np.cumsum(counts[order]) <= most]
    return np.flatnonzero(np.isin(numbers, kept))


def _numbered(patients: np.ndarray) -> np.ndarray:
    """Patients as they appear, from 0: their names are other ones in each database, and what is drawn would be, too."""
    _, first, number = np.unique(patients, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def choose(features: np.ndarray, truth: np.ndarray, splits: list, grid: dict) -> tuple[float, float, float]:
    """C, gamma and the accuracy that they reach in cross-validation.

    Args:
        features: shape (n, d).
        truth: labels, shape (n,).
        splits: see `folds`.
        grid: what `SVM_CONFIG` says.

    The distances are computed once for all C and gamma, which takes a fifth of the time of fits from features.
    """
    standardised = StandardScaler().fit_transform(features)
    distances = euclidean_distances(standardised, squared=True).astype(np.float32)
    found = []
    for gamma in (g / features.shape[1] for g in grid["gamma_times_features"]):
        svc = SVC(kernel="precomputed", cache_size=_KERNEL_CACHE_MB)
        search = GridSearchCV(svc, {"C": grid["C"]}, cv=splits, n_jobs=-1).fit(np.exp(-gamma * distances), truth)
        found.append((float(search.best_score_), search.best_params_["C"], gamma))
    accuracy, c, gamma = max(found)
    return c, gamma, accuracy


def folds(train: tuple[np.ndarray, np.ndarray, np.ndarray], count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices of training and test samples of a cross-validation in which no patient is on both sides.

    Args:
        train: features, labels and patients.
        count: folds; as many as there are patients if they are fewer.

    Raises:
        ModelError: one patient only, or a region without samples in a fold.
    """
    features, labels, patients = train
    count = min(count, len(np.unique(patients)))
    if count < 2:
        raise ModelError("the SVM needs at least two training patients for its cross-validation")
    splits = list(GroupKFold(count, shuffle=True, random_state=0).split(features, labels, _numbered(patients)))
    if any(len(np.unique(labels[inside])) < len(np.unique(labels)) for inside, _ in splits):
        raise ModelError("a region is annotated in too few patients for cross-validation; add patients")
    return splits


def save(svm: OrganSvm, folder: Path) -> None:
    """Write ``svm.skops`` and, readable, ``svm.json`` into ``folder``; the same bytes for the same SVM."""
    folder.mkdir(parents=True, exist_ok=True)
    model = skops.io.dumps({"classifier": svm.classifier, "familiarity": svm.familiarity})
    with cli.replacing_file(folder / "svm.skops") as temporary:
        _write_reproducibly(model, temporary)
    description = {"blob": svm.blob, "labels": svm.labels, "thresholds": svm.thresholds, "fit": svm.info}
    with cli.replacing_file(folder / "svm.json") as temporary:
        temporary.write_text(json.dumps(description, indent=2) + "\n")


def _write_reproducibly(model: bytes, path: Path) -> None:
    """Write what skops made, with numbers for the addresses in memory by which it names parts, and without the time."""
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
    """Read what `save` wrote; nothing in the file can run code.

    Raises:
        ModelError: a file is missing, damaged, or holds types that are not the SVM's.
    """
    model, description = folder / "svm.skops", folder / "svm.json"
    for path in (model, description):
        if not path.is_file():
            raise ModelError(f"{path} does not exist; run `make train-organ`")
    try:
        fitted = skops.io.load(model, trusted=_TRUSTED)
        facts = json.loads(description.read_text())
        return OrganSvm(
            fitted["classifier"],
            fitted["familiarity"],
            facts["thresholds"],
            facts["blob"],
            facts["labels"],
            facts["fit"],
        )
    except (BadZipFile, ValueError, KeyError, TypeError, OSError) as error:
        raise ModelError(f"{folder}: the organ SVM cannot be read: {str(error).splitlines()[0]}") from error
