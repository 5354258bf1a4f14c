"""The stage of a patient from all lesions of one study."""

from dataclasses import dataclass

import numpy as np

from nbcad.dicom.age import Age
from nbcad.inference import stage
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.inference.models import Models
from nbcad.inference.suitability import OF_A_STACK
from nbcad.language.message import Message, message


@dataclass(frozen=True, slots=True)
class StudyStage:
    """The image-suggested stage of a patient."""

    label: str | None  # None: none is suggested
    probabilities: dict[str, float]  # by label, those that led to it
    notes: tuple[Message, ...]


def study_stage(found: list[SeriesAnalysis], age: Age | None, models: Models) -> StudyStage:
    """Return the patient's image-suggested stage from all lesions of all analysed series of one study."""
    if not found:
        return StudyStage(None, {}, (message("Not analysed: no series of this study could be."),))
    found = [analysis for analysis in found if analysis.suitability.answered]
    if not found:
        return StudyStage(
            None, {}, (message("The images are unsuited: no stage is suggested, and no lesion is listed."),)
        )
    if all(len(analysis.slices) < OF_A_STACK for analysis in found):
        return StudyStage(None, {}, (message("A single slice alone tells no stage."),))
    lesions = [lesion for analysis in found for lesion in analysis.lesions]
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
        mean = models.calibration.calibrate_patient(stage.mean_stage(stages, tumour))
        probabilities = np.concatenate([[1 - max(tumour)], max(tumour) * mean])
        probabilities, by_age = stage.apply_age(probabilities, models.stages, age)
        label, undetermined = stage.suggested(probabilities, models.stages)
        notes = [message("The stage is suggested by the images alone."), *by_age, *undetermined]
    return StudyStage(label, by_name(models.stages, probabilities), tuple(notes))


def by_name(names: list[str], probabilities: np.ndarray) -> dict[str, float]:
    """Return probabilities, of shape (names,), by the names of what they are of."""
    return {name: rounded(value) for name, value in zip(names, probabilities, strict=True)}


def rounded(probability: float) -> float:
    """Return a probability as a report gives it."""
    return round(float(probability), 4)
