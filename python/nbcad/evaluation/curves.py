"""ROC, free-response ROC and calibration, each with intervals by patient."""

import numpy as np

from nbcad.evaluation.bootstrap import Figure, bounds, draws, ratio, undefined, with_interval
from nbcad.evaluation.counts import by_patient
from nbcad.evaluation.types import (
    CalibrationBin,
    CalibrationFigures,
    Curve,
    Froc,
    FrocBand,
    FrocPoint,
    Roc,
    RocBand,
)

FALSE_A_PATIENT = (0.25, 0.5, 1.0, 2.0)  # where the free-response ROC is read
BINS = 10  # of the calibration, equally wide
_POINTS = 200  # of a curve, at most
_BAND = np.linspace(0, 1, 51)


def roc(truth: np.ndarray, score: np.ndarray, patient: np.ndarray) -> Roc:
    """Return the receiver operating characteristic.

    Args:
        truth: bool, shape (n,).
        score: shape (n,), higher is more likely.
        patient: shape (n,).

    Returns:
        The curve has at most `_POINTS` points.
    """
    truth, score = np.asarray(truth, bool), np.asarray(score, float)
    if truth.all() or not truth.any():
        return Roc(undefined("no negative case" if truth.any() else "no positive case"))
    numbers, patient = np.unique(patient, return_inverse=True)
    positives, negatives = (_at_or_above(score, patient, kind) for kind in (truth, ~truth))  # (points, patients)
    drawn = draws(len(numbers))
    with np.errstate(invalid="ignore"):  # a resample with one kind of case only: 0 / 0
        hits, alarms = (drawn @ c.T / (drawn @ c[-1])[:, None] for c in (positives, negatives))
    ends = np.isfinite(hits[:, -1]) & np.isfinite(alarms[:, -1])
    resampled = [np.interp(_BAND, x, y) for x, y in zip(alarms[ends], hits[ends], strict=True)]
    band = None
    if len(numbers) > 1:
        low, high = bounds(np.array(resampled))
        band = RocBand(rounded(_BAND), rounded(low), rounded(high))
    return Roc(
        auc=_auc(truth, score, patient),
        false_positive_rate=rounded(negatives.sum(axis=1) / negatives[-1].sum()),
        sensitivity=rounded(positives.sum(axis=1) / positives[-1].sum()),
        band=band,
    )


def _at_or_above(score: np.ndarray, patient: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Count each patient's cases of one kind that score at or above each threshold, from the highest down."""
    thresholds = np.unique(score)
    if len(thresholds) > _POINTS:
        thresholds = np.unique(np.quantile(score, np.linspace(0, 1, _POINTS), method="nearest"))
    above = np.zeros((len(thresholds) + 1, patient.max() + 1))
    number = len(thresholds) - (np.searchsorted(thresholds, score, side="right") - 1)
    np.add.at(above, (number[kind], patient[kind]), 1)
    return above.cumsum(axis=0)


def _auc(truth: np.ndarray, score: np.ndarray, patient: np.ndarray) -> Figure:
    """Return the share of positive-negative pairs in which the positive case scores higher; ties count half."""
    count = int(patient.max()) + 1
    negatives, of_negatives = score[~truth], patient[~truth]
    wins = np.zeros((count, count))  # pairs won, positive's patient by negative's
    for number in range(count):
        mine = score[truth & (patient == number), None]
        won = (mine > negatives).sum(axis=0) + 0.5 * (mine == negatives).sum(axis=0)
        wins[number] = np.bincount(of_negatives, weights=won, minlength=count)
    positive, negative = by_patient(truth, patient), by_patient(~truth, patient)
    drawn = draws(count)
    with np.errstate(invalid="ignore"):
        resampled = ((drawn @ wins) * drawn).sum(axis=1) / ((drawn @ positive) * (drawn @ negative))
    value = float(wins.sum() / (positive.sum() * negative.sum()))
    return with_interval(value, resampled, len(truth), count)


def froc(thresholds: list[float], true: np.ndarray, hit: np.ndarray, false: np.ndarray) -> Froc:
    """Return the free-response ROC: share of the lesions found against false ones a patient.

    Lesions are sought again at each threshold, as the software would at that operating point. Ranking the lesions of
    one low threshold instead would be no setting of it: there, neighbouring regions have grown together and meet
    everything. A lower threshold may lose a lesion in this way; the curve is the most that any threshold finds with at
    most so many false ones.

    Args:
        thresholds: T of them.
        true: shape (patients,), lesions.
        hit: shape (T, patients), those found.
        false: shape (T, patients).
    """
    true, hit, false = (np.asarray(values, float) for values in (true, hit, false))
    if not true.sum():
        return Froc((), {str(x): undefined("no lesion") for x in FALSE_A_PATIENT}, None)
    patients = len(true)
    sensitivity, alarms = hit.sum(axis=1) / true.sum(), false.sum(axis=1) / patients
    drawn = draws(patients)
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample without any lesion: 0 / 0
        resampled = (drawn @ hit.T) / (drawn @ true)[:, None]  # (RESAMPLES, T)
    drawn_alarms = drawn @ false.T / patients
    at = {}
    for x in FALSE_A_PATIENT:
        value = float(_most(sensitivity[None], alarms[None], x)[0])
        at[str(x)] = with_interval(value, _most(resampled, drawn_alarms, x), round(true.sum()), patients)
    grid = np.linspace(0, max(*FALSE_A_PATIENT, min(alarms.max(), 4.0)), 65)
    low, high = bounds(np.stack([_most(resampled, drawn_alarms, x) for x in grid], axis=1))
    return Froc(
        points=tuple(map(FrocPoint, thresholds, rounded(sensitivity), rounded(alarms))),
        at=at,
        band=FrocBand(
            false_per_patient=rounded(grid),
            sensitivity=rounded(np.array([_most(sensitivity[None], alarms[None], x)[0] for x in grid])),
            low=rounded(low),
            high=rounded(high),
        ),
    )


def _most(sensitivity: np.ndarray, alarms: np.ndarray, allowed: float) -> np.ndarray:
    """Highest sensitivity of any threshold with at most ``allowed`` false lesions a patient, 0 where there is none.

    Both arrays have shape (n, T), the result (n,).
    """
    return np.where(alarms <= allowed + 1e-9, sensitivity, 0 * sensitivity).max(axis=1)  # 0 * NaN stays NaN


def calibration(probability: np.ndarray, right: np.ndarray, patient: np.ndarray) -> CalibrationFigures:
    """Return whether a probability p comes true in a share p of the cases.

    Args:
        probability: shape (n,), 0..1.
        right: bool, shape (n,).
        patient: shape (n,).

    Returns:
        ``brier`` is the mean of (probability - right)^2, ``over_confidence`` the mean probability less the share that
        is right; empty bins are among the ``bins``.
    """
    probability, right, patient = np.asarray(probability, float), np.asarray(right, float), np.asarray(patient, int)
    cases = by_patient(np.ones(len(right)), patient)
    number = np.minimum((probability * BINS).astype(int), BINS - 1)
    bins = []
    for n in range(BINS):
        inside = number == n
        mean = float(probability[inside].mean()) if inside.any() else None
        found = ratio(by_patient(right * inside, patient), by_patient(inside, patient), "no case")
        bins.append(CalibrationBin(n / BINS, (n + 1) / BINS, mean and round(mean, 4), found))
    return CalibrationFigures(
        brier=ratio(by_patient((probability - right) ** 2, patient), cases, "no case"),
        over_confidence=ratio(by_patient(probability - right, patient), cases, "no case"),
        bins=tuple(bins),
    )


def rounded(values: np.ndarray) -> Curve:
    """Return values as they are written."""
    return tuple(round(float(value), 4) for value in values)
