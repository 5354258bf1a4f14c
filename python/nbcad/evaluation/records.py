"""What the models say of the test patients beside what is true: plain records that all figures are counted from."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from nbcad.dicom.age import Age, age_of_all
from nbcad.evaluation.matching import LesionCount, match_lesions, meetings, paired
from nbcad.evaluation.truth import Truth, check_unchanged, read_split
from nbcad.imaging.boxes import Box, centre, overlap, volume
from nbcad.inference.analysis import SeriesAnalysis, analyse_series
from nbcad.inference.lesions import THRESHOLDS, Lesion, OperatingPoint, Peaks
from nbcad.inference.measure import millimetres
from nbcad.inference.models import Models
from nbcad.inference.stage import MS_MONTHS
from nbcad.inference.study_stage import study_stage
from nbcad.nets.labels import NORMAL
from nbcad.samples.database import SampleDatabase
from nbcad.samples.images import load_series

NOT_KNOWN = "not known"
SEVERAL = "several"
NO_LESION = "no lesion"
UNDER, OVER = f"under {MS_MONTHS} months", f"{MS_MONTHS} months and over"
SPLIT = "test"
_SWEPT = THRESHOLDS[::2]  # half of those that the operating point is chosen from: curves need no more


@dataclass(frozen=True)
class SliceRecord:
    """One slice."""

    organ: str | None  # true region, None: not known
    organ_answer: str
    organ_probabilities: tuple[float, ...]
    looked_at: bool  # false: whether it shows a lesion is not known
    tumour: bool  # it shows a true lesion
    tumour_answer: bool  # it shows a found one
    tumour_probability: float  # as reported, at its most suspicious place
    score: float  # highest threshold at which a lesion is found on it, 0 if at none


@dataclass(frozen=True)
class LesionRecord:
    """One true lesion, and the found one that stands for it."""

    organ: str  # region of most of its slices, or `NOT_KNOWN`
    volume_mm3: float  # of its boxes; mm^2 where the series does not tell how far its slices are
    found: bool
    probability: float | None  # of the found one
    overlap: float  # intersection over union of boxes, 0 for a missed one
    distance_mm: float | None  # between the centres; None: missed, or the series has no geometry


@dataclass(frozen=True)
class FoundRecord:
    """One found lesion of which it can be said whether it is true."""

    organ: str  # as of `LesionRecord`
    probability: float
    true: bool


@dataclass(frozen=True)
class SeriesRecord:
    """One series."""

    weighting: str  # T1, T2, DWI or `NOT_KNOWN`
    slices: list[SliceRecord]
    lesions: list[LesionRecord]
    found: list[FoundRecord]
    sweep: list[LesionCount]  # at each threshold of `Records`


@dataclass(frozen=True)
class PatientRecord:
    """One patient, of whom nothing else is kept."""

    stage: str
    stage_answer: str | None  # None where the images suggest none, see `stage.suggested`
    stage_probabilities: dict[str, float]
    age: Age | None
    tumour_answer: bool  # of whatever stage; of unsuited images nothing is said
    series: list[SeriesRecord]

    @property
    def lesions(self) -> list[LesionRecord]:
        """Return the counts of lesions over all series."""
        return [lesion for series in self.series for lesion in series.lesions]

    @property
    def score(self) -> float:
        """Highest threshold at which any lesion is found."""
        return max((image.score for series in self.series for image in series.slices), default=0.0)

    @property
    def organ(self) -> str:
        """Return the region of the largest true lesion, or `NO_LESION`."""
        return max(self.lesions, key=lambda lesion: lesion.volume_mm3).organ if self.lesions else NO_LESION

    @property
    def age_group(self) -> str:
        """Under 18 months or not, which tells MS from M, or `NOT_KNOWN`."""
        if self.age is None or self.age.least_months < MS_MONTHS <= self.age.most_months:
            return NOT_KNOWN
        return UNDER if self.age.most_months < MS_MONTHS else OVER

    @property
    def weighting(self) -> str:
        """Return the weighting of the patient's series, or `SEVERAL`."""
        names = {series.weighting for series in self.series}
        return names.pop() if len(names) == 1 else SEVERAL


@dataclass(frozen=True)
class Records:
    """The plain records that `gather` returns."""

    patients: list[PatientRecord]
    thresholds: list[float]  # ascending; that of the operating point is one of them
    synthetic: bool
    fingerprint: str  # SHA-256 over the pixels' hashes of all test slices


def gather(sample_database: Path, models: Models) -> Records:
    """Run the models over the test patients, through the same functions that serve `nbcad infer`.

    One patient's series are held in memory at a time.

    Raises:
        DatabaseError: no patient is on the test side, or a file is gone or changed.
    """
    thresholds = sorted({*_SWEPT, models.point.threshold})
    with SampleDatabase.open(sample_database) as database:
        analysed = _analysed(database, models)
        patients = [
            _patient([(truth, analysis) for _, truth, analysis in group], models, thresholds)
            for _, group in groupby(analysed, key=lambda item: item[0])
        ]
        return Records(patients, thresholds, database.is_synthetic(), database.pixels_sha256(SPLIT))


def _analysed(database: SampleDatabase, models: Models) -> Iterator[tuple[str, Truth, SeriesAnalysis]]:
    for number, truth in read_split(database, SPLIT):
        analysis = analyse_series(load_series(database, number)[0], models)
        check_unchanged(number, truth, analysis.slices if analysis else [])
        assert analysis is not None  # else it would have other slices than the database knows
        yield truth.patient, truth, analysis


def _patient(items: list[tuple[Truth, SeriesAnalysis]], models: Models, thresholds: list[float]) -> PatientRecord:
    analyses = [analysis for _, analysis in items]
    age = age_of_all(analysis.series.age for analysis in analyses)
    stage = study_stage(analyses, age, models)
    return PatientRecord(
        stage=items[0][0].stage,
        stage_answer=stage.label,
        stage_probabilities=stage.probabilities,
        age=age,
        tumour_answer=bool(stage.probabilities) and stage.label != NORMAL,
        series=[series_record(truth, analysis, thresholds) for truth, analysis in items],
    )


def series_record(truth: Truth, analysis: SeriesAnalysis, thresholds: list[float]) -> SeriesRecord:
    """Return the record of one analysed series."""
    judged = truth.judged(analysis.lesions)
    meets = meetings(truth.lesions, judged)
    pairs = paired(truth.lesions, judged, meets)
    sweep, scores = _sweep(truth, analysis, thresholds)
    found_on = {index for lesion in analysis.lesions for index in lesion.boxes}
    true_on = {index for boxes in truth.lesions for index in boxes}
    slices = [
        SliceRecord(
            organ=organ,
            organ_answer=analysis.organs[index],
            organ_probabilities=tuple(analysis.organ_probabilities[index].tolist()),
            looked_at=truth.looked_at[index],
            tumour=index in true_on,
            tumour_answer=index in found_on,
            tumour_probability=float(analysis.tumour[index]),
            score=float(scores[index]),
        )
        for index, organ in enumerate(truth.organs)
    ]
    return SeriesRecord(
        weighting=analysis.series.weighting or NOT_KNOWN,
        slices=slices,
        lesions=[
            _lesion(boxes, judged[pairs[number]] if number in pairs else None, truth, analysis)
            for number, boxes in enumerate(truth.lesions)
        ],
        found=[
            FoundRecord(_organ(lesion.boxes, truth), lesion.probability, bool(met.any()))
            for lesion, met in zip(judged, meets.T, strict=True)
        ],
        sweep=sweep,
    )


def _sweep(truth: Truth, analysis: SeriesAnalysis, thresholds: list[float]) -> tuple[list[LesionCount], np.ndarray]:
    """Return counts of lesions by threshold, and for each slice the highest threshold that still finds a lesion."""
    counts, scores = [], np.zeros(len(analysis.slices))
    peaks = Peaks(analysis.heat, analysis.slices)
    for threshold in thresholds:
        lesions = peaks.lesions(OperatingPoint.of(threshold))
        counts.append(match_lesions(truth.lesions, truth.judged(lesions)))
        for lesion in lesions:
            scores[list(lesion.boxes)] = threshold
    return counts, scores


def _lesion(boxes: dict[int, Box], found: Lesion | None, truth: Truth, analysis: SeriesAnalysis) -> LesionRecord:
    pixel = float(np.prod(analysis.slices[0].spacing))
    return LesionRecord(
        organ=_organ(boxes, truth),
        volume_mm3=volume(boxes) * pixel * (analysis.series.slice_step_mm or 1.0),
        found=found is not None,
        probability=found.probability if found else None,
        overlap=overlap(boxes, found.boxes) if found else 0.0,
        distance_mm=_distance(boxes, found, analysis) if found else None,
    )


def _distance(boxes: dict[int, Box], found: Lesion, analysis: SeriesAnalysis) -> float | None:
    """Return the distance, in mm, of the reported centre from that of the true lesion's boxes."""
    true = replace(found, boxes=boxes, centre=centre(boxes))
    one, other = (millimetres(lesion, analysis)[0] for lesion in (true, found))
    return None if one is None or other is None else float(np.linalg.norm(np.subtract(one, other)))


def _organ(boxes: dict[int, Box], truth: Truth) -> str:
    known = Counter(organ for index in boxes if (organ := truth.organs[index]) is not None)
    return known.most_common(1)[0][0] if known else NOT_KNOWN
