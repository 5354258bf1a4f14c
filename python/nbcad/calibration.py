"""Probabilities that mean what they say: fitted on the validation patients, stored with the operating point.

How probable a net finds a tumour depends on how many of its samples were normal, and how sure it is of the stage on how
long it was trained. Lesions get Platt's sigmoid on the log odds of their peak, stages a temperature (Guo et al. 2017).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit, softmax
from sklearn.linear_model import LogisticRegression

from nbcad.localise import Lesion

LEAST_CASES = 5  # of either answer, of lesions or of patients; fewer fit nothing
_LEAST_PROBABILITY = 1e-6
_TEMPERATURES = 0.1, 10.0
_LOG_TEMPERATURE_SD = 0.5  # before any patient is seen; a dozen, all right, do not say how sure to be


@dataclass(frozen=True)
class Calibration:
    """From what the net says to probabilities; as it stands by default it changes nothing."""

    slope: float = 1.0  # of a lesion's log odds
    intercept: float = 0.0
    lesion_temperature: float = 1.0
    patient_temperature: float = 1.0

    def lesion(self, lesion: Lesion) -> Lesion:
        """The same lesion with calibrated probability and stages."""
        odds = _log_odds(lesion.probability)
        return replace(
            lesion,
            probability=float(expit(self.slope * odds + self.intercept)),
            stages=tempered(lesion.stages, self.lesion_temperature),
        )

    def patient(self, stages: np.ndarray) -> np.ndarray:
        """Calibrated stages of a patient, of the mean of the lesions' stages; shape (tumour stages,)."""
        return tempered(stages, self.patient_temperature)

    def as_dict(self) -> dict[str, float]:
        """Ready for JSON."""
        return asdict(self)


def tempered(stages: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities, shape (..., stages), whose logarithms are divided by ``temperature``; they sum to 1."""
    return softmax(np.log(np.maximum(stages, _LEAST_PROBABILITY)) / temperature, axis=-1)


def fit_lesions(peaks: Sequence[float], true: Sequence[bool]) -> tuple[float, float]:
    """Slope and intercept from the peak probabilities of found lesions and whether they are true.

    (1, 0) where there are fewer than `LEAST_CASES` of either.
    """
    is_true = np.asarray(true, bool)
    if min(is_true.sum(), (~is_true).sum()) < LEAST_CASES:
        return 1.0, 0.0
    fitted = LogisticRegression(C=1.0).fit(_log_odds(peaks)[:, None], is_true)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _log_odds(probability: float | Sequence[float]) -> np.ndarray:
    """Of probabilities short of certainty, whose log odds are infinite."""
    return logit(np.clip(probability, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY))


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
        return prior - float(np.log(np.maximum(probable, _LEAST_PROBABILITY)).sum())

    found = minimize_scalar(surprise, bounds=tuple(np.log(_TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))
