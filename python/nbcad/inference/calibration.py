"""Calibrated probabilities, fitted on the validation patients and stored with the operating point.

A net's tumour probability depends on the share of normal samples in its training, its certainty about the stage on the
length of the training. Lesions get Platt's sigmoid on the log odds of their peak, stages a temperature (Guo et al.
2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logit, softmax

from nbcad.inference.lesions import Lesion

LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Calibration:
    """A map from the net's outputs to probabilities; the default changes nothing."""

    slope: float = 1.0  # of a lesion's log odds
    intercept: float = 0.0
    lesion_temperature: float = 1.0
    patient_temperature: float = 1.0

    def calibrate_lesion(self, lesion: Lesion) -> Lesion:
        """Return the lesion with calibrated probability and stages."""
        odds = log_odds(lesion.probability)
        return replace(
            lesion,
            probability=float(expit(self.slope * odds + self.intercept)),
            stages=tempered(lesion.stages, self.lesion_temperature),
        )

    def calibrate_patient(self, stages: np.ndarray) -> np.ndarray:
        """Return the calibrated stages of a patient from the mean of the lesions' stages; shape (tumour stages,)."""
        return tempered(stages, self.patient_temperature)


def tempered(stages: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logarithms of probabilities, shape (..., stages), by a temperature; the result sums to 1."""
    return softmax(np.log(np.maximum(stages, LEAST_PROBABILITY)) / temperature, axis=-1)


def log_odds(probability: float | Sequence[float]) -> np.ndarray:
    """Return log odds, with probabilities kept short of certainty, where they are infinite."""
    return logit(np.clip(probability, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))
