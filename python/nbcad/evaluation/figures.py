"""From records to figures: all of ``metrics.json`` but the baselines, as docs/formats/metrics-json.md lists it."""

from collections.abc import Callable

import numpy as np

from nbcad.evaluation.bootstrap import median, ratio
from nbcad.evaluation.counts import by_patient, confusion, five_measures, lesion_measures, share
from nbcad.evaluation.curves import calibration, froc, roc
from nbcad.evaluation.records import (
    NO_LESION,
    NOT_KNOWN,
    OVER,
    UNDER,
    FoundRecord,
    LesionRecord,
    PatientRecord,
    Records,
    SeriesRecord,
    SliceRecord,
)
from nbcad.evaluation.types import (
    Curve,
    Distances,
    Figures,
    Froc,
    LesionFigures,
    LesionMeasures,
    OrganFigures,
    Overlaps,
    RankedMeasures,
    SliceMeasures,
    StageFigures,
    StratumRow,
    TumourFigures,
)
from nbcad.nets.labels import NORMAL, OTHER, organ_labels, stage_labels

NO_STAGE = "none"  # is suggested
OVERLAPS = (0.1, 0.25, 0.5)  # at which a lesion counts as found by its overlap


def of_records(records: Records) -> Figures:
    """Return all figures of the models."""
    patients = records.patients
    return Figures(
        organ=_organ(patients),
        tumour=TumourFigures(
            slice=_tumour_by_slice(patients),
            lesion=_lesions(patients),
            patient=_tumour_by_patient(patients),
            froc=_froc(records),
        ),
        stage=_stage(patients),
        strata={name: _strata(patients, *of) for name, of in _STRATA.items()},
    )


def _slices(patients: list[PatientRecord], kept: Callable[[SliceRecord], bool]) -> tuple[list[SliceRecord], np.ndarray]:
    """Return the slices of a kind, and the number of the patient of each."""
    pairs = [
        (image, number)
        for number, patient in enumerate(patients)
        for series in patient.series
        for image in series.slices
        if kept(image)
    ]
    return [image for image, _ in pairs], np.array([number for _, number in pairs], int)


def _organ(patients: list[PatientRecord]) -> OrganFigures:
    labels = organ_labels()
    slices, patient = _slices(patients, lambda image: image.organ is not None)
    unlabelled, _ = _slices(patients, lambda image: image.organ is None)
    truth, found = (np.array([getattr(i, name) for i in slices], str) for name in ("organ", "organ_answer"))
    probabilities = np.array([image.organ_probabilities for image in slices]).reshape(len(slices), len(labels))
    guess = probabilities.argmax(axis=1)
    right = np.array([labels[best] == true for best, true in zip(guess, truth, strict=True)], bool)
    return OrganFigures(
        accuracy=share(truth == found, patient, "no slice with a known region"),
        one_against_rest={
            label: five_measures(truth == label, found == label, patient).extended(
                RankedMeasures, roc=roc(truth == label, probabilities[:, n], patient)
            )
            for n, label in enumerate(labels)
        },
        confusion=confusion(truth.tolist(), found.tolist(), labels, [*labels, OTHER]),
        calibration=calibration(probabilities.max(axis=1, initial=0), right, patient),
        slices=len(slices),
        slices_without_label=len(unlabelled),
        of_these_other=sum(image.organ_answer == OTHER for image in unlabelled),
    )


def _tumour_by_slice(patients: list[PatientRecord]) -> SliceMeasures:
    slices, patient = _slices(patients, lambda image: image.looked_at)
    names = ("tumour", "tumour_answer", "tumour_probability", "score")
    truth, found, probability, score = (np.array([getattr(i, name) for i in slices], float) for name in names)
    return five_measures(truth, found, patient).extended(
        SliceMeasures, roc=roc(truth, score, patient), calibration=calibration(probability, truth, patient)
    )


def _tumour_by_patient(patients: list[PatientRecord]) -> RankedMeasures:
    truth = np.array([p.stage != NORMAL for p in patients])
    found, score = np.array([p.tumour_answer for p in patients]), np.array([p.score for p in patients])
    number = np.arange(len(patients))
    return five_measures(truth, found, number).extended(RankedMeasures, roc=roc(truth, score, number))


def _lesions(patients: list[PatientRecord]) -> LesionFigures:
    pairs = [(lesion, number) for number, p in enumerate(patients) for lesion in p.lesions]
    numbers = np.array([number for _, number in pairs], int)
    overlaps = np.array([lesion.overlap for lesion, _ in pairs])
    found = np.array([lesion.found for lesion, _ in pairs], bool)
    placed = [(lesion.distance_mm, number) for lesion, number in pairs if lesion.distance_mm is not None]
    distances = np.array([distance for distance, _ in placed])
    of_placed = np.array([number for _, number in placed], int)
    return _lesion_row(patients).extended(
        LesionFigures,
        iou=Overlaps(
            median_of_found=median(overlaps[found], numbers[found], "no lesion found"),
            mean_missed_as_0=ratio(by_patient(overlaps, numbers), by_patient(overlaps >= 0, numbers), "no lesion"),
            share_at_least={str(least): share(overlaps >= least, numbers, "no lesion") for least in OVERLAPS},
            of_found=_sorted(overlaps[found]),
        ),
        centre_distance_mm=Distances(
            median_of_found=median(distances, of_placed, "no lesion found in a series with geometry"),
            of_found=_sorted(distances),
        ),
    )


def _sorted(values: np.ndarray) -> Curve:
    """Return values without their patients, for histograms."""
    return tuple(round(float(value), 3) for value in np.sort(values))


def _froc(records: Records) -> Froc:
    counts = [
        [sum(getattr(series.sweep[t], name) for series in p.series) for p in records.patients]
        for name in ("true", "hit", "false")
        for t in range(len(records.thresholds))
    ]
    true, hit, false = np.array(counts).reshape(3, len(records.thresholds), -1)
    return froc(records.thresholds, true[0], hit, false)


def _stage(patients: list[PatientRecord]) -> StageFigures:
    labels, number = stage_labels(), np.arange(len(patients))
    # No answer is none of the stages: not right, but not calibrated either.
    answers = [p.stage_answer or NO_STAGE for p in patients]
    truth, found = np.array([p.stage for p in patients]), np.array(answers)
    given = [(p, p.stage_answer) for p in patients if p.tumour_answer and p.stage_answer]
    probability = np.array([p.stage_probabilities[answer] for p, answer in given])
    right = np.array([p.stage == answer for p, answer in given], bool)
    return StageFigures(
        accuracy=share(truth == found, number, "no patient"),
        one_against_rest={label: five_measures(truth == label, found == label, number) for label in labels},
        confusion=confusion(truth.tolist(), answers, labels, [*labels, *({NO_STAGE} & set(answers))]),
        # Without a lesion the answer is "normal" by rule, with a probability that was not measured.
        calibration=calibration(probability, right, np.arange(len(given))),
    )


# By stratum: its group of a lesion, true or found, given its patient and series; whether a series can have lesions of
# the group; and the patient's group.
_STRATA: dict[str, tuple[Callable, Callable, Callable]] = {
    "organ": (lambda p, s, lesion: lesion.organ, lambda p, s, group: group != NO_LESION, lambda p: p.organ),
    "stage": (lambda p, s, lesion: p.stage, lambda p, s, group: p.stage == group, lambda p: p.stage),
    "age": (lambda p, s, lesion: p.age_group, lambda p, s, group: p.age_group == group, lambda p: p.age_group),
    "weighting": (lambda p, s, lesion: s.weighting, lambda p, s, group: s.weighting == group, lambda p: p.weighting),
}


def _strata(
    patients: list[PatientRecord], of_lesion: Callable, of_series: Callable, of_patient: Callable
) -> tuple[StratumRow, ...]:
    """Return lesions and patients' stages by group; the counts of all groups sum to those of the whole."""
    groups = {of_patient(p): None for p in patients}
    groups |= {of_lesion(p, s, x): None for p in patients for s in p.series for x in [*s.lesions, *s.found]}

    def row(group: str) -> StratumRow:
        members = [p for p in patients if of_patient(p) == group]
        right = np.array([p.stage == p.stage_answer for p in members], bool)
        of_group = _lesion_row(
            patients, lambda p, s, lesion: of_lesion(p, s, lesion) == group, lambda p, s: of_series(p, s, group)
        )
        return StratumRow(group, of_group, share(right, np.arange(len(members)), "no patient"))

    return tuple(row(group) for group in sorted(groups, key=_order))


def _order(group: str) -> tuple[int, str]:
    """Labels as their files order them, the younger before the older, what is not known last."""
    known = [*organ_labels(), *stage_labels(), UNDER, OVER]
    return (known.index(group) if group in known else len(known) + (group == NOT_KNOWN)), group


def _lesion_row(
    patients: list[PatientRecord],
    counts: Callable[[PatientRecord, SeriesRecord, LesionRecord | FoundRecord], bool] = lambda p, s, lesion: True,
    searched: Callable[[PatientRecord, SeriesRecord], bool] = lambda p, s: True,
) -> LesionMeasures:
    """Measures of those lesions that count, false ones by patients with a series that was searched for such."""
    true, hit, false, among = (np.zeros(len(patients)) for _ in range(4))
    for number, patient in enumerate(patients):
        for series in patient.series:
            lesions = [lesion for lesion in series.lesions if counts(patient, series, lesion)]
            true[number] += len(lesions)
            hit[number] += sum(lesion.found for lesion in lesions)
            false[number] += sum(not x.true and counts(patient, series, x) for x in series.found)
            among[number] = among[number] or searched(patient, series)
    return lesion_measures(true, hit, false, among)
