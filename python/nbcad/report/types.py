"""The report as data: report.json holds these classes, each with its fields in this order, and messages in English.

docs/formats/report.schema.json describes every field. Lengths are in mm, places in patient coordinates (LPS), and boxes
in stored pixels, zero-based, with their ends excluded.
"""

from dataclasses import dataclass
from typing import Literal

from nbcad.dicom.sources import Status
from nbcad.inference.measure import Diameters, Point
from nbcad.inference.site import Side
from nbcad.inference.study_stage import StudyStage
from nbcad.inference.suitability import Suitability, TrainingData
from nbcad.language.message import Message


@dataclass(frozen=True, slots=True)
class BoxEntry:
    """The part of a slice that a lesion covers."""

    sop_uid: str
    frame: int  # from 0, also in an Enhanced object
    row0: int
    col0: int
    row1: int
    col1: int


@dataclass(frozen=True, slots=True)
class LesionEntry:
    """One lesion."""

    id: int  # from 1 in its series, the most probable first
    probability: float  # that it is one
    site: str | None  # a region; None: not determined
    side: Side | None  # of the patient; None: not determined
    centre_mm: Point | None  # this, the next and the volume: None where the series does not tell
    box_mm: tuple[Point, Point] | None  # lowest and highest corner
    diameters_mm: Diameters
    volume_mm3: float | None
    first_slice: int  # from 1, as the viewer counts
    last_slice: int
    boxes: tuple[BoxEntry, ...]


@dataclass(frozen=True, slots=True)
class OrganEntry:
    """The region that a slice shows."""

    label: str
    probabilities: dict[str, float]  # by region


@dataclass(frozen=True, slots=True)
class SliceEntry:
    """One image that was analysed."""

    sop_uid: str
    frame: int
    organ: OrganEntry
    tumour_probability: float  # the highest at any place


@dataclass(frozen=True, slots=True)
class SeriesEntry:
    """One series, or one stack of a series with several."""

    series_uid: str
    description: str
    stack: Message  # empty where the series has no other
    status: Literal["analysed", "refused"]
    rule: str  # that took it, or that refused it
    reason: Message  # against it; empty where it was analysed
    notes: tuple[Message, ...]
    suitability: Suitability | None  # None: it was not analysed
    slices: tuple[SliceEntry, ...]
    lesions: tuple[LesionEntry, ...]
    dicom: tuple[str, ...]  # names of the objects that were written for it


@dataclass(frozen=True, slots=True)
class PatientEntry:
    """The patient of a study."""

    id: str
    age_months: int | None  # at the study, completed; None where it is not known to the month
    age_range_months: tuple[int, int] | None  # the fewest and the most that the header allows; None: it does not tell


@dataclass(frozen=True, slots=True)
class StudyEntry:
    """One study."""

    suitability: Suitability
    study_uid: str
    patient: PatientEntry
    stage: StudyStage
    series: tuple[SeriesEntry, ...]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """The fate of one input file."""

    path: str
    status: Status
    reason: Message  # empty where all of it was used


@dataclass(frozen=True, slots=True)
class Software:
    """The software and the models that made a report."""

    trained_on: TrainingData
    nbcad: str
    caffe: str
    python: str
    device: str
    models: dict[str, str]  # SHA-256 by name


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over a report, or over one patient of it."""

    studies: int
    studies_without_answer: int  # not analysed, or unsuited: nothing is said of them
    series: int
    files_used: int
    files_refused: int
    files_ignored: int
    frames_refused: int  # of the files that are used
    slices: int
    lesions: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds for the steps of an analysis; summed over all workers."""

    read: float
    analyse: float
    write: float


@dataclass(frozen=True, slots=True)
class Report:
    """The report of an input."""

    schema: str
    research_use_only: bool
    software: Software
    summary: Summary
    studies: tuple[StudyEntry, ...]
    files: tuple[FileEntry, ...]
    origin: str
    timing_s: Timing
