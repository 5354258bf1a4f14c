"""``operating_point.json``: what makes the stager's heat a lesion, and what makes its probabilities true.

docs/formats/operating_point.schema.json describes every field.
"""

from dataclasses import dataclass

from nbcad.inference.calibration import Calibration
from nbcad.inference.lesions import OperatingPoint
from nbcad.inference.suitability import TrainingData


@dataclass(frozen=True, slots=True)
class TriedThreshold:
    """The lesions of the validation patients at one threshold."""

    threshold: float
    true: int
    hit: int  # of the true ones
    false: int  # found ones that are none


@dataclass(frozen=True, slots=True)
class ChosenPoint:
    """The operating point of a stager and the calibration at it, as chosen on the validation patients."""

    threshold: float
    extent: float
    calibration: Calibration
    n4: bool  # whether the images were corrected by N4
    validation_patients: int
    trained_on: TrainingData
    tried: tuple[TriedThreshold, ...]

    @property
    def point(self) -> OperatingPoint:
        """Return the operating point alone."""
        return OperatingPoint(self.threshold, self.extent)

    @property
    def chosen(self) -> TriedThreshold:
        """Return the counts of lesions at the operating point."""
        return next(one for one in self.tried if one.threshold == self.threshold)
