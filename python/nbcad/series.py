"""DICOM in: every file of a folder, a zip or a single file, sorted into series whose geometry is known.

Nothing is guessed. Each file ends as ``used``, ``refused`` (an object that cannot be analysed, with the tag that says
so) or ``ignored`` (no DICOM object at all, or a series that was not chosen).
"""

import io
import re
import struct
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, pixel_array
from pydicom.uid import MRImageStorage

from nbcad.errors import InputError

USED, REFUSED, IGNORED = "used", "refused", "ignored"

# What pydicom and its decoders raise on files that are cut short, mislabelled or of an unknown encoding.
_MALFORMED = (
    InvalidDicomError, ValueError, TypeError, KeyError, IndexError, AttributeError, NotImplementedError,
    RuntimeError, EOFError, OSError, struct.error,
)  # fmt: skip
_SAME_DIRECTION = 1e-3  # direction cosines that differ by less belong to one stack
_SAME_PLACE_MM = 1e-2
_LARGEST_FIELD_MM = 1000.0  # twice the widest bore; what is larger is a wrong Pixel Spacing, and would fill the memory


@dataclass(frozen=True)
class Source:
    """Where a file lies: on disk, or as a member of a zip."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}!{self.member}" if self.member else str(self.path)

    def open(self):
        """The file, open for reading bytes."""
        if self.member is None:
            return self.path.open("rb")
        with zipfile.ZipFile(self.path) as archive:
            return io.BytesIO(archive.read(self.member))


@dataclass
class FileRecord:
    """What became of one input file."""

    path: str
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Geometry:
    """Image plane of one slice, DICOM PS3.3 C.7.6.2: all lengths in mm, all directions in patient coordinates (LPS)."""

    position: np.ndarray  # (3,) centre of the first stored pixel
    along_row: np.ndarray  # (3,) unit vector of increasing column index
    along_column: np.ndarray  # (3,) unit vector of increasing row index
    row_spacing: float  # between the centres of adjacent rows
    column_spacing: float  # between the centres of adjacent columns

    @property
    def normal(self) -> np.ndarray:
        """(3,) unit normal of the image plane."""
        return np.cross(self.along_row, self.along_column)

    def pixel_to_patient(self, row: float, column: float) -> np.ndarray:
        """Patient coordinates in mm, shape (3,), of a zero-based pixel index (DICOM PS3.3 C.7.6.2.1.1)."""
        return (
            self.position + self.along_row * self.column_spacing * column + self.along_column * self.row_spacing * row
        )


@dataclass
class Slice:
    """One stored image: its header's essentials; pixels are read by `read_pixels`."""

    source: Source
    sop_uid: str
    rows: int
    columns: int
    geometry: Geometry | None
    spacing: tuple[float, float]  # mm between rows, between columns
    record: FileRecord
    frame: int = 0


@dataclass
class Series:
    """Slices of one series that share plane, size and contrast, sorted along the plane's normal."""

    study_uid: str
    series_uid: str
    patient_id: str
    age_months: int | None
    description: str
    weighting: str  # "T1", "T2", "DWI" or "" where the header does not tell
    plane: str  # "axial", "coronal", "sagittal" or "" without geometry
    phantom: bool  # (0028,0300) Quality Control Image is YES: no patient (DICOM PS3.3 C.7.6.1)
    slices: list[Slice] = field(default_factory=list)

    @property
    def slice_step_mm(self) -> float | None:
        """Median distance between neighbouring slices, or None where there is none to measure."""
        if len(self.slices) < 2 or self.slices[0].geometry is None:
            return None
        return float(np.median(np.diff([_distance_along_normal(s.geometry) for s in self.slices])))


@dataclass
class Archive:
    """All series of an input and the fate of every file in it."""

    series: list[Series]
    files: list[FileRecord]


def read_archive(path: str | Path) -> Archive:
    """Sort all images below ``path`` (a folder, a zip or one file) into series.

    Pixels are not read yet. Files keep status ``used`` unless a reason against them is found here or in `read_pixels`.

    Raises:
        InputError: ``path`` does not exist, is a damaged zip, or holds no file.
    """
    path = Path(path)
    archive = read_sources(_sources(path))
    if not archive.files:
        raise InputError(f"{path} holds no file")
    return archive


def read_sources(sources: Iterable[Source]) -> Archive:
    """Sort the images among ``sources`` into series, as `read_archive` does."""
    files: list[FileRecord] = []
    stacks: dict[tuple, tuple[pydicom.Dataset, list[Slice]]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of a header's oddities becomes a reason in the record
        for source in sources:
            record = FileRecord(str(source), USED)
            files.append(record)
            header = _read_header(source, record)
            image = _slice(header, source, record) if header is not None else None
            if image is not None:
                stacks.setdefault(_stack_key(header, image), (header, []))[1].append(image)
    series = [_series(header, images) for header, images in stacks.values()]
    series.sort(key=lambda s: (s.patient_id, s.study_uid, s.series_uid, -len(s.slices)))
    return Archive([s for s in series if s.slices], files)


def reason_not_chosen(series: Series) -> str:
    """Why a series is not one that the nets were trained for; empty if it is, or if the header does not tell."""
    if series.weighting not in ("T2", ""):
        return f"{series.weighting}-weighted; the nets are trained on T2-weighted series"
    if series.plane not in ("axial", ""):
        return f"plane is {series.plane}; the nets are trained on axial series"
    return ""


def read_pixels(series: Series) -> tuple[list[Slice], np.ndarray]:
    """Decode a series.

    A slice whose pixels cannot be decoded, or are all equal, is refused in its `FileRecord` and left out.

    Returns:
        The slices that could be read and their pixels, float32, shape (slices, rows, columns), after the modality LUT
        (DICOM PS3.3 C.11.1) and with MONOCHROME1 inverted, so that larger is brighter.
    """
    slices, images = [], []
    for image in series.slices:
        try:
            pixels = _decode(image.source)
        except _MALFORMED as error:
            _refuse(image.record, f"(7FE0,0010) Pixel Data cannot be decoded: {_one_line(error)}")
            continue
        if pixels.shape != (image.rows, image.columns):
            _refuse(image.record, f"(7FE0,0010) Pixel Data has shape {pixels.shape}")
        elif not np.isfinite(pixels).all():
            _refuse(image.record, "(0028,1053) Rescale Slope makes pixels that are no finite float32 numbers")
        elif pixels.min() == pixels.max():
            _refuse(image.record, "(7FE0,0010) Pixel Data: all pixels are equal")
        else:
            slices.append(image)
            images.append(pixels)
    if not slices:
        return [], np.empty((0, 0, 0), np.float32)
    return slices, np.stack(images)


def _sources(path: Path) -> Iterator[Source]:
    if not path.exists():
        raise InputError(f"{path} does not exist; give a DICOM folder, file or zip")
    if path.is_dir():
        yield from (Source(p) for p in sorted(path.rglob("*")) if p.is_file())
    elif zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = sorted(i.filename for i in archive.infolist() if not i.is_dir())
        except zipfile.BadZipFile as error:
            raise InputError(f"{path} is a damaged zip: {error}") from error
        yield from (Source(path, name) for name in names)
    else:
        yield Source(path)


def _read_header(source: Source, record: FileRecord) -> pydicom.Dataset | None:
    """The header of an MR image, or None with the reason in ``record``."""
    try:
        with source.open() as file:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            _ = header.get("SOPClassUID"), header.get("Modality")
    except InvalidDicomError:
        record.status, record.reason = IGNORED, "not a DICOM file (PS3.10)"
        return None
    except (*_MALFORMED, zipfile.BadZipFile) as error:
        _refuse(record, f"header cannot be read: {_one_line(error)}")
        return None
    if "DirectoryRecordSequence" in header:
        record.status, record.reason = IGNORED, "DICOMDIR"
        return None
    try:
        reason = _reason_against(header)
    except _MALFORMED as error:
        reason = f"header cannot be read: {_one_line(error)}"
    if reason:
        _refuse(record, reason)
        return None
    return header


def _reason_against(header: pydicom.Dataset) -> str:
    """Why an object is no MR image that can be analysed, naming the tag; empty if it is one."""
    sop_class = header.get("SOPClassUID", "")
    if sop_class != MRImageStorage:
        name = getattr(sop_class, "name", sop_class) or "missing"
        return f"(0008,0016) SOP Class UID is {name}, not MR Image Storage"
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Rows", "Columns"):
        if not header.get(keyword):
            tag = pydicom.datadict.tag_for_keyword(keyword)
            return f"{pydicom.tag.Tag(tag)} {pydicom.datadict.dictionary_description(tag)} is missing"
    if int(header.get("NumberOfFrames") or 1) > 1:
        return f"(0028,0008) Number of Frames is {header.NumberOfFrames}: one frame a file is read"
    if header.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        return f"(0028,0004) Photometric Interpretation is {header.get('PhotometricInterpretation', 'missing')}"
    if "MOSAIC" in (header.get("ImageType") or []):
        return "(0008,0008) Image Type is MOSAIC: many slices in one plane"
    return ""


def _slice(header: pydicom.Dataset, source: Source, record: FileRecord) -> Slice | None:
    try:
        spacing = _numbers(header, "PixelSpacing", 2)
        orientation = _numbers(header, "ImageOrientationPatient", 6)
        position = _numbers(header, "ImagePositionPatient", 3)
        rows, columns = int(header.Rows), int(header.Columns)
    except (ValueError, TypeError) as error:
        _refuse(record, f"header cannot be read: {_one_line(error)}")
        return None
    if spacing is None or min(spacing) <= 0:
        _refuse(record, "(0028,0030) Pixel Spacing is missing or not positive; nothing can be measured without it")
        return None
    if max(rows * spacing[0], columns * spacing[1]) > _LARGEST_FIELD_MM:
        _refuse(
            record, f"(0028,0030) Pixel Spacing {spacing.tolist()} makes the image wider than any MR scanner's field"
        )
        return None
    geometry = None
    if orientation is not None and position is not None:
        along_row, along_column = orientation[:3], orientation[3:]
        if not np.allclose([np.linalg.norm(along_row), np.linalg.norm(along_column)], 1, atol=1e-2) or (
            abs(along_row @ along_column) > 1e-2
        ):
            _refuse(record, "(0020,0037) Image Orientation (Patient) is no pair of orthogonal unit vectors")
            return None
        geometry = Geometry(position, along_row, along_column, float(spacing[0]), float(spacing[1]))
    return Slice(source, str(header.SOPInstanceUID), rows, columns, geometry, tuple(map(float, spacing)), record)


def _stack_key(header: pydicom.Dataset, image: Slice) -> tuple:
    """Slices with equal keys form one stack: same series, size, spacing, plane, b-value and echo."""
    plane = ()
    if image.geometry is not None:
        directions = np.concatenate([image.geometry.along_row, image.geometry.along_column])
        plane = tuple(np.round(directions / _SAME_DIRECTION).astype(int))
    return (
        str(header.StudyInstanceUID), str(header.SeriesInstanceUID), image.rows, image.columns, image.spacing, plane,
        str(header.get("DiffusionBValue", "")), str(header.get("EchoTime", "")),
    )  # fmt: skip


def _series(header: pydicom.Dataset, images: list[Slice]) -> Series:
    return Series(
        study_uid=str(header.StudyInstanceUID),
        series_uid=str(header.SeriesInstanceUID),
        patient_id=str(header.get("PatientID") or ""),
        age_months=_age_months(header),
        description=str(header.get("SeriesDescription") or ""),
        weighting=_weighting(header),
        plane=_plane(images[0].geometry),
        phantom=header.get("QualityControlImage") == "YES",
        slices=_sorted_without_duplicates(images),
    )


def _sorted_without_duplicates(images: list[Slice]) -> list[Slice]:
    """Slices along the normal; of two at one place the second is refused, of two with one UID likewise."""
    with_place = images[0].geometry is not None
    images = sorted(
        images, key=lambda s: (_distance_along_normal(s.geometry) if with_place else 0.0, s.sop_uid, str(s.source))
    )
    kept: list[Slice] = []
    seen: dict[str, Slice] = {}
    for image in images:
        if image.sop_uid in seen:
            _refuse(image.record, f"(0008,0018) SOP Instance UID is that of {seen[image.sop_uid].source}")
            continue
        seen[image.sop_uid] = image
        if with_place and kept:
            step = _distance_along_normal(image.geometry) - _distance_along_normal(kept[-1].geometry)
            if step < _SAME_PLACE_MM:
                _refuse(image.record, f"(0020,0032) Image Position (Patient) is that of {kept[-1].source}")
                continue
        kept.append(image)
    return kept


def _distance_along_normal(geometry: Geometry) -> float:
    return float(geometry.position @ geometry.normal)


def _plane(geometry: Geometry | None) -> str:
    if geometry is None:
        return ""
    return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(geometry.normal)))]


def _weighting(header: pydicom.Dataset) -> str:
    """Contrast by b-value, then by description, then by repetition and echo time (ms)."""
    description = str(header.get("SeriesDescription") or "").upper()
    if "DiffusionBValue" in header or re.search(r"DWI|DIFF|ADC|\bB-?\d{2,4}\b", description):
        return "DWI"
    named = re.search(r"\bT([12])", description)
    if named:
        return f"T{named[1]}"
    echo, repetition = header.get("EchoTime"), header.get("RepetitionTime")
    if not echo or not repetition:
        return ""
    if float(echo) >= 60 and float(repetition) >= 1500:
        return "T2"
    if float(echo) <= 30 and float(repetition) <= 1000:
        return "T1"
    return ""


def _age_months(header: pydicom.Dataset) -> int | None:
    """Age at the study, from PatientAge (DICOM PS3.5 6.2, AS), else from birth and study date."""
    age = re.fullmatch(r"(\d{3})([DWMY])", str(header.get("PatientAge") or ""))
    if age:
        return int(int(age[1]) * {"D": 12 / 365.25, "W": 12 * 7 / 365.25, "M": 1, "Y": 12}[age[2]])
    try:
        born, studied = (
            date.fromisoformat(str(header.get(keyword) or "")) for keyword in ("PatientBirthDate", "StudyDate")
        )
    except ValueError:
        return None
    months = (studied.year - born.year) * 12 + studied.month - born.month - (studied.day < born.day)
    return months if months >= 0 else None


def _numbers(header: pydicom.Dataset, keyword: str, count: int) -> np.ndarray | None:
    """``count`` finite numbers of a decimal-string element, or None where it is absent or empty."""
    value = header.get(keyword)
    if not value:
        return None
    numbers = np.asarray(value, dtype=float)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"{keyword} is {value}, not {count} finite numbers")
    return numbers


def _decode(source: Source) -> np.ndarray:
    with source.open() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(file)
        pixels = apply_modality_lut(pixel_array(dataset), dataset).astype(np.float32)
    return -pixels if dataset.PhotometricInterpretation == "MONOCHROME1" else pixels


def _refuse(record: FileRecord, reason: str) -> None:
    record.status, record.reason = REFUSED, reason


def _one_line(error: Exception) -> str:
    text = str(error).split("\n")[0] or type(error).__name__
    return text if len(text) < 200 else text[:197] + "..."
