"""Fit of the SVM on the organ net's features (paper 3.1(2)), chosen by cross-validation over patients."""

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

    C and gamma are chosen by cross-validation, and the probabilities are calibrated by Platt's sigmoid; both hold out
    whole patients. Beyond ``exact_up_to`` samples the classifier's kernel is approximated, so that time and memory grow
    in proportion to the samples. C, gamma and the one-class SVM come from at most ``choose_on`` samples.

    Args:
        train: features of shape (n, d), their labels as int of shape (n,), and their patients of shape (n,).
        val_features: shape (m, d).
        blob: name of the net's blob that gave the features.
        labels: names of the regions.
        config: TOML file with the grid, the shares and the limits.

    Returns:
        The fitted SVMs with their thresholds.

    Raises:
        ModelError: there is only one training patient, or a region has no samples in a fold.
    """
    with Path(config).open("rb") as file:
        grid = tomllib.load(file)
    features, truth, patients = train
    splits = folds(train, grid["folds"])
    few = some_patients(patients, grid["choose_on"])
    splits_of_few = folds((features[few], truth[few], patients[few]), grid["folds"])
    c, gamma, accuracy = choose(features[few], truth[few], splits_of_few, grid)
    exact = len(truth) <= grid["exact_up_to"]
    svm = exact_svm(c, gamma) if exact else approximate_svm(c, gamma, grid["landmarks"])
    # Approximate fits run one at a time, as each takes gigabytes.
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
    """Return an SVM with an RBF kernel; the time of its fit grows with the square of the samples."""
    return make_pipeline(StandardScaler(), SVC(C=c, gamma=gamma, cache_size=_KERNEL_CACHE_MB))


def approximate_svm(c: float, gamma: float, landmarks: int) -> Pipeline:
    """Return a linear SVM on the RBF kernel's values at some samples (Nystroem); its time grows with the samples."""
    kernel = Nystroem(gamma=gamma, n_components=landmarks, random_state=0)
    return make_pipeline(StandardScaler(), kernel, LinearSVC(C=c, dual=False))


def some_patients(patients: np.ndarray, most: int) -> np.ndarray:
    """Draw whole patients at random until they have at most ``most`` samples together.

    Args:
        patients: patient of each sample, shape (n,).
        most: number of samples; if there are fewer, all are taken.

    Returns:
        Indices of the patients' samples, ascending.
    """
    numbers = _numbered(patients)
    counts = np.bincount(numbers)
    order = np.random.default_rng(0).permutation(len(counts))
    kept = order[np.cumsum(counts[order]) <= most]
    return np.flatnonzero(np.isin(numbers, kept))


def _numbered(patients: np.ndarray) -> np.ndarray:
    """Number patients from 0 by first appearance; shape (n,).

    Their hashes differ between databases. Numbering them keeps random draws of patients reproducible.
    """
    _, first, number = np.unique(patients, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def choose(features: np.ndarray, truth: np.ndarray, splits: list, grid: dict) -> tuple[float, float, float]:
    """Choose C and gamma by cross-validation.

    The distances are computed once for all C and gamma, which takes a fifth of the time of fits from features.

    Args:
        features: shape (n, d).
        truth: labels, shape (n,).
        splits: result of `folds`.
        grid: content of `SVM_CONFIG`.

    Returns:
        C, gamma and their accuracy in cross-validation.
    """
    standardised = StandardScaler().fit_transform(features)
    distances = euclidean_distances(standardised, squared=True).astype(np.float32)
    results = []
    for gamma in (g / features.shape[1] for g in grid["gamma_times_features"]):
        svc = SVC(kernel="precomputed", cache_size=_KERNEL_CACHE_MB)
        search = GridSearchCV(svc, {"C": grid["C"]}, cv=splits, n_jobs=-1).fit(np.exp(-gamma * distances), truth)
        results.append((float(search.best_score_), search.best_params_["C"], gamma))
    accuracy, c, gamma = max(results)
    return c, gamma, accuracy


def folds(train: tuple[np.ndarray, np.ndarray, np.ndarray], count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the folds of a cross-validation in which no patient is both in training and in test.

    Args:
        train: features, labels and patients.
        count: number of folds; there are never more than patients.

    Returns:
        For each fold the indices of its training and of its test samples.

    Raises:
        ModelError: there is only one patient, or a region has no samples in a fold.
    """
    features, labels, patients = train
    count = min(count, len(np.unique(patients)))
    if count < 2:
        raise ModelError("the SVM needs at least two training patients for its cross-validation")
    splits = list(GroupKFold(count, shuffle=True, random_state=0).split(features, labels, _numbered(patients)))
    if any(len(np.unique(labels[inside])) < len(np.unique(labels)) for inside, _ in splits):
        raise ModelError("a region is annotated in too few patients for cross-validation; add patients")
    return splits
