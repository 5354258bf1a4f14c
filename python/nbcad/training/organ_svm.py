"""The SVM on the organ net's features: chosen by cross-validation over patients, and fitted."""

import tomllib
from pathlib import Path

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.kernel_approximation import Nystroem
from sklearn.metrics import euclidean_distances
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, OneClassSVM

from nbcad.errors import ModelError
from nbcad.inference.organ import OrganSvm, SvmFit, SvmThresholds
from nbcad.runtime.paths import SVM_CONFIG

_KERNEL_CACHE_MB = 1000


def fit(
    train: tuple[np.ndarray, np.ndarray, np.ndarray],
    val_features: np.ndarray,
    blob: str,
    labels: list[str],
    config: Path = SVM_CONFIG,
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
    about = SvmFit(
        kernel="exact" if exact else f"Nystroem, {grid['landmarks']} landmarks",
        C=c,
        gamma=gamma,
        chosen_on_samples=len(few),
        cross_validation_accuracy=accuracy,
        folds=len(splits),
        samples=len(truth),
        patients=len(np.unique(patients)),
    )
    return OrganSvm(classifier, familiarity, SvmThresholds(**thresholds), blob, labels, about)


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
