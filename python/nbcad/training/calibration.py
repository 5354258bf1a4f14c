"""Calibration of the probabilities of lesions and patients, fitted on the validation patients."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.linear_model import LogisticRegression

from nbcad.inference.calibration import LEAST_PROBABILITY, log_odds, tempered

LEAST_CASES = 5  # lesions of either kind, or patients; with fewer nothing is fitted
_TEMPERATURES = 0.1, 10.0
_LOG_TEMPERATURE_SD = 0.5  # of the prior: a dozen patients, all right, do not tell how certain to be


def fit_lesions(peaks: Sequence[float], true: Sequence[bool]) -> tuple[float, float]:
    """Fit slope and intercept of Platt's sigmoid on the log odds of found lesions.

    Args:
        peaks: peak probability of each found lesion.
        true: whether it is a true one.

    Returns:
        Slope and intercept; (1, 0) if the true or the false lesions are fewer than `LEAST_CASES`.
    """
    is_true = np.asarray(true, bool)
    if min(is_true.sum(), (~is_true).sum()) < LEAST_CASES:
        return 1.0, 0.0
    fitted = LogisticRegression(C=1.0).fit(log_odds(peaks)[:, None], is_true)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def fit_temperature(stages: Sequence[np.ndarray], truth: Sequence[int]) -> float:
    """Fit the temperature that is most probable given the true stages.

    Args:
        stages: for each of n cases the probabilities of the tumour stages, shape (tumour stages,).
        truth: index of the true stage of each case.

    Returns:
        The temperature; 1 if there are fewer than `LEAST_CASES` cases.
    """
    if len(truth) < LEAST_CASES:
        return 1.0
    probabilities, rows = np.stack(stages), np.arange(len(truth))

    def negative_log_posterior(log_temperature: float) -> float:
        of_truth = tempered(probabilities, float(np.exp(log_temperature)))[rows, truth]
        prior = 0.5 * (log_temperature / _LOG_TEMPERATURE_SD) ** 2
        return prior - float(np.log(np.maximum(of_truth, LEAST_PROBABILITY)).sum())

    minimum = minimize_scalar(negative_log_posterior, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
    return float(np.exp(minimum.x))
