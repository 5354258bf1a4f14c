"""Figures with 95 % confidence intervals: percentile bootstrap by patient.

Slices and lesions of one patient resemble each other, so whole patients are drawn, as many as there are, with
replacement; an interval holds the middle 95 % of the figure over all draws. The percentile interval is taken for every
figure alike, since it needs nothing but the figure itself: BCa is not defined where all patients agree. Only patients
who count in a figure are drawn for it: those with a lesion for the sensitivity by lesion, the normal ones for the
specificity by patient. All draws come from one seed, so that two models are measured on the same ones.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

RESAMPLES = 2000
SEED = 1
LEVEL = 0.95
ONE_PATIENT = "one patient only: no interval"
_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured number with its interval; None, and why, where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0  # of what is counted: slices, lesions, patients, windows
    patients: int = 0  # who count in it
    reason: str = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the bounds, or None."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def rounded(self) -> "Figure":
        """Return the figure with as many decimals as are written."""
        value, low, high = (None if x is None else round(x, _DECIMALS) for x in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high)


def undefined(reason: str) -> Figure:
    """Return a figure without a value, as nothing was counted."""
    return Figure(None, reason=reason)


@lru_cache(maxsize=16)
def draws(patients: int) -> np.ndarray:
    """Return how often each resample draws each patient: float, shape (`RESAMPLES`, patients)."""
    rng = np.random.default_rng(SEED)
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=RESAMPLES).astype(float)


def bounds(resampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of resampled figures.

    Args:
        resampled: shape (`RESAMPLES`, ...); NaN where a resample leaves the figure undefined, which is passed over.

    Returns:
        Lower and upper bound, each of shape (...).
    """
    outside = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(resampled, [outside, 100 - outside], axis=0)
    return low, high


def ratio(part: np.ndarray, whole: np.ndarray, nothing: str) -> Figure:
    """Return the ratio of two sums over all patients, as a figure.

    Args:
        part: shape (patients,).
        whole: shape (patients,), counts; patients with 0 do not count in the figure, and have no part either.
        nothing: why it is undefined where ``whole`` is 0 for all.
    """
    whole = np.asarray(whole, float)
    counted = whole > 0
    part, whole = np.asarray(part, float)[counted], whole[counted]
    if not counted.any():
        return undefined(nothing)
    value, n = float(part.sum() / whole.sum()), round(whole.sum())
    drawn = draws(len(part))
    return with_interval(value, (drawn @ part) / (drawn @ whole), n, len(part))


def median(values: np.ndarray, patient: np.ndarray, nothing: str) -> Figure:
    """Median over all patients' values (the lower one of the two middle ones).

    Args:
        values: shape (n,).
        patient: shape (n,), number of the patient of each.
        nothing: why it is undefined where there are none.
    """
    if not len(values):
        return undefined(nothing)
    order = np.argsort(values, kind="stable")
    values = np.asarray(values, float)[order]
    numbers, patient = np.unique(np.asarray(patient)[order], return_inverse=True)
    weights = np.vstack([np.ones(len(values)), draws(len(numbers))[:, patient]])  # (1 + RESAMPLES, n)
    upto = weights.cumsum(axis=1)
    found = values[(upto >= upto[:, -1:] / 2).argmax(axis=1)]
    return with_interval(float(found[0]), found[1:], len(values), len(numbers))


def with_interval(value: float, resampled: np.ndarray, n: int, patients: int) -> Figure:
    """Return a figure with the interval of its resampled values; a single patient has none."""
    if patients < 2:
        return Figure(value, n=n, patients=patients, reason=ONE_PATIENT)
    low, high = bounds(resampled)
    return Figure(value, float(low), float(high), n, patients)
