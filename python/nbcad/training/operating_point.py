"""The operating point: the threshold from which on the stager's heat is a lesion, chosen on the validation patients."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nbcad.dicom import slice_step_mm
from nbcad.evaluation.matching import LesionCount, match_lesions, meetings
from nbcad.evaluation.truth import Truth, heat_of_split
from nbcad.inference.calibration import Calibration
from nbcad.inference.lesions import THRESHOLDS, Lesion, OperatingPoint, Peaks
from nbcad.inference.operating_point import ChosenPoint, TriedThreshold
from nbcad.nets.labels import NORMAL, stage_labels
from nbcad.samples.database import SampleDatabase
from nbcad.training.calibration import fit_lesions, fit_temperature
from nbcad.training.suitability import training_data

FALSE_LESIONS_A_PATIENT = 1.0  # upper limit on the validation patients; other patients may have more


def choose(sample_database: Path, weights: Path, n4: bool) -> ChosenPoint:
    """Choose the operating point on the validation patients, and calibrate the probabilities at it.

    It is the most sensitive threshold with at most `FALSE_LESIONS_A_PATIENT`; among equally sensitive ones, that with
    the fewest false lesions. If none keeps to the limit, it is the threshold with the fewest false lesions.

    Args:
        sample_database: SQLite file.
        weights: caffemodel of the stage net.
        n4: as in preprocessing.

    Returns:
        The operating point and the calibration, with the counts at every threshold tried.

    Raises:
        DatabaseError: there is no validation patient, or a file is gone or changed.
        ModelError: the weights are missing or of another net.
    """
    with SampleDatabase.open(sample_database) as database:
        series, steps = [], []
        for truth, slices, _, heat in heat_of_split(database, "val", weights, n4):
            series.append((truth, Peaks(heat, slices)))
            steps.append(slice_step_mm(slices))
        trained_on = training_data(database, [step for step in steps if step is not None])
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
        trained_on=trained_on,
        tried=tuple(TriedThreshold(t, c.true, c.hit, c.false) for t, c in tried.items()),
    )


def _calibrate(series: list[tuple[Truth, Peaks]], point: OperatingPoint) -> Calibration:
    """Calibrate the probability of lesions, and the stages of lesions and patients, at an operating point."""
    names = [label for label in stage_labels() if label != NORMAL]
    peaks, true = [], []  # of every peak high enough to belong to a lesion: more cases than the lesions reported
    stages: dict[str, list[np.ndarray]] = {}  # of the true lesions reported, by patient
    true_stage = {truth.patient: truth.stage for truth, _ in series}
    for truth, found in series:
        for lesion, hit in _judged(truth, found.lesions(OperatingPoint(point.extent, point.extent))):
            peaks.append(lesion.probability)
            true.append(hit)
            if hit and lesion.probability >= point.threshold and truth.stage in names:
                stages.setdefault(truth.patient, []).append(lesion.stages)
    of_lesions, of_patients = [], []  # each a pair: probabilities of the stages, index of the true one
    for patient, lesions in stages.items():
        index = names.index(true_stage[patient])
        of_lesions += [(lesion, index) for lesion in lesions]
        of_patients.append((np.mean(lesions, axis=0), index))
    slope, intercept = fit_lesions(peaks, true)
    return Calibration(
        slope=slope,
        intercept=intercept,
        lesion_temperature=fit_temperature(*zip(*of_lesions, strict=True)) if of_lesions else 1.0,
        patient_temperature=fit_temperature(*zip(*of_patients, strict=True)) if of_patients else 1.0,
    )


def _judged(truth: Truth, found: list[Lesion]) -> Iterator[tuple[Lesion, bool]]:
    """Yield each found lesion that can be judged, and whether it is a true one."""
    judged = truth.judged(found)
    for lesion, meets in zip(judged, meetings(truth.lesions, judged).T, strict=True):
        yield lesion, bool(meets.any())
