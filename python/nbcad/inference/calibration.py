"""Probabilities that mean what they say: fitted on the validation patients, stored with the operating point.

How probable a net finds a tumour depends on how many of its samples were normal, and how sure it is of the stage on how
long it was trained. Lesions get Platt's sigmoid on the log odds of their peak, stages a temperature (Guo et al. 2017).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.special import expit, logit, softmax

from nbcad.inference.lesions import Lesion

LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Calibration:
    """From what the net says to probabilities; as it stands by default it changes nothing."""

    slope: float = 1.0  # of a lesion's log odds
    intercept: float = 0.0
    lesion_temperature: float = 1.0
    patient_temperature: float = 1.0

    def lesion(self, lesion: Lesion) -> Lesion:
        """The same lesion with calibrated probability and stages."""
        odds = log_odds(lesion.probability)
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
    return softmax(np.log(np.maximum(stages, LEAST_PROBABILITY)) / temperature, axis=-1)


def log_odds(probability: float | Sequence[float]) -> np.ndarray:
    """Of probabilities short of certainty, whose log odds are infinite."""
    return logit(np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))
