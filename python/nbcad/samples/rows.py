"""Typed rows of the sample database; `schema.sql` has their tables and columns."""

from dataclasses import dataclass, field
from typing import NamedTuple

from nbcad.annotation.annotations import SliceAnnotation
from nbcad.dicom import Source
from nbcad.imaging.preprocess import Jitter


class SliceRow(NamedTuple):
    """A slice, the file that holds it, and the hash of its pixels."""

    slice: int
    sop_uid: str
    frame: int
    source: Source
    pixel_sha256: str


class SliceFacts(NamedTuple):
    """The patient of a slice, its side of the split, and the labels that all label files together give it."""

    slice: int
    organ: str | None  # None: not known
    lesions_known: bool  # false: lesions were not looked for
    patient: str
    side: str | None  # None: not assigned yet


class SeriesRow(NamedTuple):
    """A series, its patient and the patient's stage."""

    series: int
    patient: str
    stage: str


class SampleRow(NamedTuple):
    """One entry of an LMDB, and the place and manner in which its image is cut from a slice."""

    task: str  # "organ" or "stage"
    split: str  # the side
    key: int  # in the LMDB
    slice: int
    row: float | None  # the window's centre in the stored image; None for a whole slice
    col: float | None
    mirrored: bool
    jitter: Jitter | None  # of a jittered copy of a whole slice

    @property
    def lmdb(self) -> str:
        """Return the name of the LMDB that holds this sample."""
        return f"{self.task}_{self.split}"


class TrainingSide(NamedTuple):
    """The patients that models are trained on."""

    synthetic: bool  # all of their images are phantoms
    patients: int
    youngest: int | None  # in months; None: no age is known
    oldest: int | None
    weightings: tuple[str, ...]  # of the series, where known


class KeyRange(NamedTuple):
    """The number of entries of an LMDB, and its highest key."""

    task: str
    split: str
    entries: int
    last: int


class LabelFileRow(NamedTuple):
    """A label file as it was read, and the table that gave its lesions their stage (None: the file itself did)."""

    path: str
    source: str  # "csv", "seg", "rtstruct" or "mask"
    sha256: str
    stages_path: str | None
    stages_sha256: str | None


class FileRow(NamedTuple):
    """The outcome of an input file, and its state on disk at that time."""

    status: str  # "used", "refused" or "ignored"
    reason: str
    size: int  # bytes
    mtime_ns: int

    @property
    def state(self) -> tuple[int, int]:
        """Return size in bytes and time of modification in ns."""
        return self.size, self.mtime_ns


class PatientStages(NamedTuple):
    """The stage recorded of a patient beside the stages of the patient's lesions."""

    patient: str
    lowest: str  # first and last in the alphabet; both are the same unless the annotations contradict each other
    highest: str
    recorded: str
    path: str  # of a file with one of the lesions


@dataclass
class ExistingSlice:
    """A slice that the database holds already, with its annotations."""

    slice: int
    series: int
    patient: str
    place: str  # absolute path, with the member of a zip
    pixel_sha256: str
    annotations: dict[str, SliceAnnotation] = field(default_factory=dict)  # by the label file's path
