"""Images, the series that they make up, and the archive that they come from."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, TypeVar

import numpy as np
from pydicom.uid import MRImageStorage

from nbcad.dicom.age import Age
from nbcad.dicom.sources import FileRecord, Source
from nbcad.language.message import EMPTY, Message

_T = TypeVar("_T")


def shared(value: _T) -> _T:
    """Return one object for all equal values, as the many headers of a folder are mostly alike."""
    return _first_equal(value)


@lru_cache(maxsize=256)
def _first_equal(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Geometry:
    """Image plane of one slice, DICOM PS3.3 C.7.6.2: all lengths in mm, all directions in patient coordinates (LPS)."""

    position: np.ndarray  # (3,) centre of the first stored pixel
    along_row: np.ndarray  # (3,) unit vector of increasing column index
    along_column: np.ndarray  # (3,) unit vector of increasing row index
    row_spacing: float  # between the centres of adjacent rows
    column_spacing: float  # between the centres of adjacent columns

    @cached_property
    def normal(self) -> np.ndarray:
        """Return the unit normal of the image plane, shape (3,)."""
        return np.cross(self.along_row, self.along_column)

    def pixel_to_patient(self, row: float, column: float) -> np.ndarray:
        """Patient coordinates in mm, shape (3,), of a zero-based pixel index (DICOM PS3.3 C.7.6.2.1.1)."""
        return (
            self.position + self.along_row * self.column_spacing * column + self.along_column * self.row_spacing * row
        )


@dataclass(frozen=True, slots=True)
class StoredPixels:
    """The storage of a file's pixels, DICOM PS3.3 C.7.6.3 and PS3.5 A."""

    transfer_syntax: str
    offset: int  # of the value of (7FE0,0010), in the file or, if that is deflated, in what it inflates to
    encapsulated: bool
    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    inverted: bool  # MONOCHROME1
    ow: bool  # 8-bit pixels lie in words, which matters in big endian
    frame_offsets: tuple[bytes, bytes] | None = None  # (7FE0,0001) and (7FE0,0002) as encoded

    @property
    def frame_bytes(self) -> int:
        """Length of one frame that is not compressed."""
        return self.rows * self.columns * self.bits_allocated // 8


@dataclass(slots=True)
class Slice:
    """One stored image: its header's essentials; pixels are read by `read_pixels`."""

    source: Source
    sop_uid: str
    rows: int
    columns: int
    geometry: Geometry | None
    spacing: tuple[float, float]  # mm between rows, between columns
    record: FileRecord
    stored: StoredPixels
    frame: int = 0  # counted from 0, also in an Enhanced object
    rescale: tuple[float, float] = (1.0, 0.0)  # slope, intercept
    sop_class_uid: str = MRImageStorage
    frame_of_reference_uid: str = ""  # empty: unknown what else its coordinates can be compared with

    def set_aside(self, status: str, reason: Message) -> None:
        """Refuse or ignore this image in its file's record."""
        self.record.set_aside(status, reason, self.frame)


@dataclass
class Series:
    """Slices of one series that share plane, size and contrast, sorted along the plane's normal: one stack.

    A series with several stacks gives several of these, which ``stack`` tells apart.
    """

    study_uid: str
    series_uid: str
    patient_id: str
    age: Age | None  # at the study
    description: str
    weighting: str  # one of `weighting.WEIGHTINGS`, or "" where the header does not tell
    plane: str  # "axial", "coronal", "sagittal" or "" without geometry
    phantom: bool  # (0028,0300) Quality Control Image is YES: no patient (DICOM PS3.3 C.7.6.1)
    slices: list[Slice] = field(default_factory=list)
    b_value: float | None = None  # s/mm2
    stack: Message = EMPTY  # what tells it from the series' other stacks; empty if there is none
    image_types: tuple[str, ...] = ()  # values of Image Type and Frame Type of any slice, see `weighting.image_types`
    notes: list[Message] = field(default_factory=list)

    @property
    def slice_step_mm(self) -> float | None:
        """Median distance between neighbouring slices, or None where there is none to measure."""
        return slice_step_mm(self.slices)


@dataclass
class Archive:
    """All series of an input and the fate of every file in it."""

    series: list[Series]
    files: list[FileRecord]


def geometries(slices: list[Slice]) -> list[Geometry] | None:
    """Return the geometry of each slice of a stack, or None if it has none, as a single image may."""
    planes = [image.geometry for image in slices if image.geometry is not None]
    return planes if len(planes) == len(slices) else None


def slice_step_mm(slices: list[Slice]) -> float | None:
    """Return the median distance between neighbouring slices of a stack; None where there is none to measure."""
    planes = geometries(slices)
    if len(slices) < 2 or planes is None:
        return None
    return float(np.median(np.diff(distances_along_normal(planes))))


def distances_along_normal(planes: list[Geometry]) -> np.ndarray:
    """Return each plane's distance from the origin along the first one's normal; mm, shape (planes,)."""
    # One normal for all: directions that differ in the last digit would move places far from the origin.
    return np.array([plane.position for plane in planes]) @ planes[0].normal
