"""Fits of the probabilities of lesions and patients on the validation patients."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from nbcad.inference.calibration import LEAST_PROBABILITY, log_odds, tempered

LEAST_CASES = 5  # of either answer, of lesions or of patients; fewer fit nothing
_TEMPERATURES = 0.1, 10.0
_LOG_TEMPERATURE_SD = 0.5  # before any patient is seen; a dozen, all right, do not say how sure to be


def fit_lesions(peaks: Sequence[float], true: Sequence[bool]) -> tuple[float, float]:
    """Slope and intercept from the peak probabilities of found lesions and whether they are true.

    (1, 0) where there are fewer than `LEAST_CASES` of either.
    """
    is_true = np.asarray(true, bool)
    if min(is_true.sum(), (~is_true).sum()) < LEAST_CASES:
        return 1.0, 0.0
    fitted = LogisticRegression(C=1.0).fit(log_odds(peaks)[:, None], is_true)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def fit_temperature(stages: Sequence[np.ndarray], truth: Sequence[int]) -> float:
    """The most probable temperature given the true stages; 1 for fewer than `LEAST_CASES`.

    Args:
        stages: n probabilities of shape (tumour stages,).
        truth: the index of the true one of each.
    """
    if len(truth) < LEAST_CASES:
        return 1.0
    given, rows = np.stack(stages), np.arange(len(truth))

    def surprise(log_temperature: float) -> float:
        probable = tempered(given, float(np.exp(log_temperature)))[rows, truth]
        prior = 0.5 * (log_temperature / _LOG_TEMPERATURE_SD) ** 2
        return prior - float(np.log(np.maximum(probable, LEAST_PROBABILITY)).sum())

    found = minimize_scalar(surprise, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))
