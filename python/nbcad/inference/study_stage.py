"""The stage of a patient from all lesions of one study."""

from dataclasses import dataclass

import numpy as np

from nbcad.dicom.age import Age
from nbcad.imaging import boxes
from nbcad.inference import stage
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.inference.models import Models
from nbcad.language.message import Message, message


@dataclass(frozen=True, slots=True)
class StudyStage:
    """The image-suggested stage of a patient."""

    label: str | None  # None: none is suggested
    probabilities: dict[str, float]  # by label, those that led to it
    notes: tuple[Message, ...]


def study_stage(found: list[SeriesAnalysis], age: Age | None, models: Models) -> StudyStage:
    """Return the patient's image-suggested stage from all lesions of all analysed series of one study."""
    lesions = [lesion for analysis in found for lesion in analysis.lesions]
    if not found:
        return StudyStage(None, {}, (message("No series of this study could be analysed."),))
    if not lesions:
        highest = max(float(analysis.tumour.max()) for analysis in found)
        probabilities = np.zeros(len(models.stages))
        probabilities[0] = 1.0
        label: str | None = models.stages[0]
        notes = [
            message(
                "No lesion was found; the highest tumour probability at any single place is {probability}.",
                probability=f"{highest:.2f}",
            )
        ]
    else:
        stages, tumour = [x.stages for x in lesions], [x.probability for x in lesions]
        mean = models.calibration.calibrate_patient(stage.mean_stage(stages, _lesion_sizes(found)))
        probabilities = np.concatenate([[1 - max(tumour)], max(tumour) * mean])
        probabilities, by_age = stage.apply_age(probabilities, models.stages, age)
        label, undetermined = stage.suggested(probabilities, models.stages)
        notes = [message("The stage is suggested by the images alone."), *by_age, *undetermined]
    return StudyStage(label, by_name(models.stages, probabilities), tuple(notes))


def _lesion_sizes(found: list[SeriesAnalysis]) -> list[float]:
    """Volume in mm^3 of each lesion's boxes; their area in mm^2 where a series does not tell how far its slices are."""
    steps = [step for analysis in found if (step := analysis.series.slice_step_mm) is not None]
    if len(steps) < len(found):
        steps = [1.0] * len(found)
    return [
        boxes.volume(lesion.boxes) * pixel * step
        for analysis, step in zip(found, steps, strict=True)
        for pixel in [float(np.prod(analysis.slices[0].spacing))]
        for lesion in analysis.lesions
    ]


def by_name(names: list[str], probabilities: np.ndarray) -> dict[str, float]:
    """Return probabilities, of shape (names,), by the names of what they are of."""
    return {name: rounded(value) for name, value in zip(names, probabilities, strict=True)}


def rounded(probability: float) -> float:
    """Return a probability as a report gives it."""
    return round(float(probability), 4)
