"""Whether images are like those that the models were trained on: suited, doubtful or unsuited, with the reasons.

Ours: the paper's nets saw abdomens and chests of children, and say something of anything. Of an unsuited series nothing
is claimed, neither a lesion nor a stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.pipeline import Pipeline

from nbcad.dicom import Series
from nbcad.dicom.age import Age
from nbcad.errors import ModelError
from nbcad.inference.skops_file import read_skops, write_skops
from nbcad.language.message import Message, message
from nbcad.nets.labels import OTHER
from nbcad.runtime.json_file import read_json, write_json

Verdict = Literal["suited", "doubtful", "unsuited"]
SUITED: Verdict = "suited"
DOUBTFUL: Verdict = "doubtful"
UNSUITED: Verdict = "unsuited"
_ORDER = (SUITED, DOUBTFUL, UNSUITED)

LIKENESS, LIMITS = "likeness.skops", "suitability.json"  # files of the organ model
ADULT_MONTHS = 18 * 12  # the paper's patients, and those of INRG's staging of the young, are children
OF_A_STACK = 2  # slices; a single one shows no extent
STEP_FACTOR = 1.5  # by which slices may be farther apart, or closer, than those of the validation patients


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The images that the models were trained and chosen on."""

    synthetic: bool  # all of them are phantoms, of which nothing follows for patients
    patients: int  # trained on
    age_months: tuple[int, int] | None  # lowest and highest of these; None: no age is known
    weightings: tuple[str, ...]  # of their series, "T1", "T2", "DWI"; those that are not known are left out
    slice_step_mm: tuple[float, float] | None  # lowest and highest of the validation patients' series


@dataclass(frozen=True, slots=True)
class SuitabilityLimits:
    """The limits of what counts as alike, chosen on the validation patients."""

    unlikeness: float  # highest of a slice that is like those trained on
    alike: float  # least share of such slices in a suited series
    hardly_alike: float  # with a smaller share a series is unsuited
    recognised: float  # least share of slices in a recognised region in a suited series


def unlikeness(density: Pipeline, features: np.ndarray) -> np.ndarray:
    """Return the negative log likelihood of slices per feature, shape (n,); `Likeness` tells the arguments."""
    return -density.score_samples(features) / features.shape[1]


@dataclass(frozen=True)
class Likeness:
    """The measure of how like slices are to those that the models were trained on, with its limits."""

    density: Pipeline  # of the organ net's features: standardised, then probabilistic PCA
    limits: SuitabilityLimits

    def unlikeness(self, features: np.ndarray) -> np.ndarray:
        """Return the negative log likelihood of slices per feature, shape (n,).

        Args:
            features: shape (n, d), of `organ.extract_features`.
        """
        return unlikeness(self.density, features)

    def save(self, folder: Path) -> None:
        """Write ``likeness.skops`` and the readable ``suitability.json`` into ``folder``."""
        write_skops({"density": self.density}, folder / LIKENESS)
        write_json(self.limits, folder / LIMITS)

    @classmethod
    def load(cls, folder: Path) -> "Likeness":
        """Read the files of `save`.

        Raises:
            ModelError: a file is missing, damaged, or holds other types.
        """
        (density,) = read_skops(folder / LIKENESS, ("density",))
        return cls(density, read_json(folder / LIMITS, SuitabilityLimits, ModelError, "run `make train-organ`"))


@dataclass(frozen=True, slots=True)
class SuitabilityMeasures:
    """The measurements of a series that its suitability follows from."""

    slices: int
    alike: float  # share of slices that are like those that the models were trained on
    recognised: float  # share of slices that show one of the regions
    slice_step_mm: float | None  # None where there is none to measure


@dataclass(frozen=True, slots=True)
class Suitability:
    """The suitability of images: whether they are of the kind that the models were trained on."""

    verdict: Verdict
    reasons: tuple[Message, ...]  # against them; none where they are suited
    measures: SuitabilityMeasures | None = None  # of a series that was analysed

    @property
    def answered(self) -> bool:
        """Return whether anything is said of the images; of unsuited ones nothing is."""
        return self.verdict != UNSUITED


def trained_on(data: TrainingData) -> Message:
    """Return what a reader must know of the models: whether they have seen any patient at all."""
    if data.synthetic:
        return message(
            "The models were trained on a phantom ({count} synthetic patients): how well they do on patients is not "
            "known.",
            count=data.patients,
        )
    return message("The models were trained on the images of {count} patients.", count=data.patients)


def measure(
    series: Series, organs: Sequence[str], unlikeness: np.ndarray, limits: SuitabilityLimits
) -> SuitabilityMeasures:
    """Return what the suitability of a series follows from.

    Args:
        series: with its readable slices.
        organs: the region of each of n slices, ``other`` included.
        unlikeness: of each slice, shape (n,), of `Likeness.unlikeness`.
        limits: chosen on the validation patients.
    """
    return SuitabilityMeasures(
        slices=len(organs),
        alike=_share(unlikeness <= limits.unlikeness),
        recognised=_share(np.array(organs) != OTHER),
        slice_step_mm=series.slice_step_mm,
    )


def of_series(
    series: Series, measures: SuitabilityMeasures, limits: SuitabilityLimits, data: TrainingData
) -> Suitability:
    """Return the suitability of one analysed series.

    Args:
        series: its header.
        measures: of `measure`.
        limits: chosen on the validation patients.
        data: that the models were trained on.
    """
    against = [
        *_against_images(measures, limits),
        *_against_kind(series, measures, data),
        *_against_age(series.age, data),
    ]
    return _worst(against, measures)


def of_study(of_its_series: Sequence[Suitability]) -> Suitability:
    """Return the suitability of a study, which is that of the best of its analysed series.

    Args:
        of_its_series: of each analysed series.
    """
    if not of_its_series:
        return Suitability(UNSUITED, (message("No series of this study could be analysed."),))
    best = min(of_its_series, key=lambda one: _ORDER.index(one.verdict))
    return Suitability(best.verdict, best.reasons)


def _worst(against: list[tuple[Verdict, Message]], measures: SuitabilityMeasures) -> Suitability:
    against = sorted(against, key=lambda one: -_ORDER.index(one[0]))
    verdict = against[0][0] if against else SUITED
    return Suitability(verdict, tuple(reason for _, reason in against), measures)


def _against_images(measures: SuitabilityMeasures, limits: SuitabilityLimits) -> list[tuple[Verdict, Message]]:
    """Return what the nets' view of the slices has against them."""
    against: list[tuple[Verdict, Message]] = []
    if measures.alike < limits.alike:
        reason = message(
            "Only {share} of the slices are like those that the models were trained on.", share=_percent(measures.alike)
        )
        against.append((UNSUITED if measures.alike < limits.hardly_alike else DOUBTFUL, reason))
    if not measures.recognised:
        against.append((UNSUITED, message("No slice shows a region that the models know.")))
    elif measures.recognised < limits.recognised:
        reason = message("Only {share} of the slices show a region that the models know.",
                         share=_percent(measures.recognised))  # fmt: skip
        against.append((DOUBTFUL, reason))
    return against


def _against_kind(series: Series, measures: SuitabilityMeasures, data: TrainingData) -> list[tuple[Verdict, Message]]:
    """Return what plane, weighting and spacing have against a series."""
    against: list[tuple[Verdict, Message]] = []
    if series.plane not in ("axial", ""):
        against.append((UNSUITED, message("The slices are not axial.")))
    if not series.weighting:
        against.append((DOUBTFUL, message("The weighting of the series is not known.")))
    elif data.weightings and series.weighting not in data.weightings:
        reason = message("The series is weighted {weighting}; the models were trained on {known}.",
                         weighting=series.weighting, known=", ".join(data.weightings))  # fmt: skip
        against.append((UNSUITED, reason))
    if measures.slices < OF_A_STACK:
        against.append((DOUBTFUL, message("It is a single slice.")))
    step, known = measures.slice_step_mm, data.slice_step_mm
    if step and known and not known[0] / STEP_FACTOR <= step <= known[1] * STEP_FACTOR:
        reason = message("Its slices are {step} mm apart; the models know {low} to {high} mm.",
                         step=f"{step:.1f}", low=f"{known[0]:.1f}", high=f"{known[1]:.1f}")  # fmt: skip
        against.append((DOUBTFUL, reason))
    return against


def _against_age(age: Age | None, data: TrainingData) -> list[tuple[Verdict, Message]]:
    """Return what the patient's age has against the images."""
    if age is None or data.age_months is None:
        return []
    low, high = data.age_months
    if age.least_months >= max(ADULT_MONTHS, high + 1):
        reason = message(
            "The patient is {years} years old; the models know {low} to {high} months.",
            years=age.least_months // 12, low=low, high=high,
        )  # fmt: skip
        return [(UNSUITED, reason)]
    if age.least_months > high or age.most_months < low:
        reason = message(
            "The patient is {age} months old; the models know {low} to {high} months.",
            age=age.least_months, low=low, high=high,
        )  # fmt: skip
        return [(DOUBTFUL, reason)]
    return []


def _share(which: np.ndarray) -> float:
    return round(float(which.mean()), 4) if which.size else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
