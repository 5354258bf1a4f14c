"""The operating point: what makes the stager's heat a lesion, chosen on the validation patients."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nbcad.evaluation.matching import LesionCount, match_lesions, meetings
from nbcad.evaluation.truth import Truth, heat_of_split
from nbcad.inference.calibration import Calibration
from nbcad.inference.lesions import THRESHOLDS, Lesion, OperatingPoint, Peaks
from nbcad.inference.operating_point import ChosenPoint, TriedThreshold
from nbcad.nets.labels import NORMAL, stage_labels
from nbcad.samples.database import SampleDatabase
from nbcad.training.calibration import fit_lesions, fit_temperature

FALSE_LESIONS_A_PATIENT = 1.0  # at most, on the validation patients; on others it may be more


def choose(sample_database: Path, weights: Path, n4: bool) -> ChosenPoint:
    """Choose what makes heat a lesion, and calibrate the probabilities there, on the validation patients.

    The most sensitive setting with at most `FALSE_LESIONS_A_PATIENT`; among equals the one with fewest false lesions.

    Args:
        sample_database: SQLite file.
        weights: caffemodel of the stage net.
        n4: as in preprocessing.

    Returns:
        The operating point and the calibration, with the figures of every threshold tried.
    """
    with SampleDatabase.open(sample_database) as database:
        series = [
            (truth, Peaks(heat, slices)) for truth, slices, _, heat in heat_of_split(database, "val", weights, n4)
        ]
    tried = {
        threshold: sum(
            (match_lesions(truth.lesions, truth.judged(peaks.lesions(point))) for truth, peaks in series), LesionCount()
        )
        for threshold, point in ((threshold, OperatingPoint.of(threshold)) for threshold in THRESHOLDS)
    }
    patients = len({truth.patient for truth, _ in series})
    allowed = FALSE_LESIONS_A_PATIENT * patients
    within = {threshold: count for threshold, count in tried.items() if count.false <= allowed}
    if within:
        best = max(within, key=lambda threshold: (within[threshold].hit, -within[threshold].false))
    else:
        best = min(tried, key=lambda threshold: tried[threshold].false)
    point = OperatingPoint.of(best)
    return ChosenPoint(
        threshold=point.threshold,
        extent=point.extent,
        calibration=_calibrate(series, point),
        n4=n4,
        validation_patients=patients,
        tried=tuple(TriedThreshold(t, c.true, c.hit, c.false) for t, c in tried.items()),
    )


def _calibrate(series: list[tuple[Truth, Peaks]], point: OperatingPoint) -> Calibration:
    """Calibrate what is found at an operating point: of lesions the probability, of lesions and patients the stage."""
    names = [label for label in stage_labels() if label != NORMAL]
    peaks, true = [], []  # of every peak that is high enough to belong to a lesion: more cases than those reported
    stages: dict[str, list[np.ndarray]] = {}
    of_patient = {truth.patient: truth.stage for truth, _ in series}
    for truth, found in series:
        for lesion, hit in _hits(truth, found.lesions(OperatingPoint(point.extent, point.extent))):
            peaks.append(lesion.probability)
            true.append(hit)
            if hit and lesion.probability >= point.threshold and truth.stage in names:
                stages.setdefault(truth.patient, []).append(lesion.stages)
    every = [(one, names.index(of_patient[patient])) for patient, found in stages.items() for one in found]
    means = [(np.mean(found, axis=0), names.index(of_patient[patient])) for patient, found in stages.items()]
    slope, intercept = fit_lesions(peaks, true)
    return Calibration(
        slope=slope,
        intercept=intercept,
        lesion_temperature=fit_temperature(*zip(*every, strict=True)) if every else 1.0,
        patient_temperature=fit_temperature(*zip(*means, strict=True)) if means else 1.0,
    )


def _hits(truth: Truth, found: list[Lesion]) -> Iterator[tuple[Lesion, bool]]:
    judged = truth.judged(found)
    for lesion, meets in zip(judged, meetings(truth.lesions, judged).T, strict=True):
        yield lesion, bool(meets.any())
