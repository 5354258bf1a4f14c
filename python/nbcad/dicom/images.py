"""One file to the images in it.

Classic MR Image Storage (DICOM PS3.3 A.4) has one frame a file; of Enhanced MR Image Storage (A.36), whose frames are
described one by one, `functional_groups` makes headers of single frames.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import MRImageStorage

from nbcad.dicom import functional_groups
from nbcad.dicom.age import Age, age_at_study
from nbcad.dicom.header import Ignored, Values, named, parse, without_deflation
from nbcad.dicom.refusal import MALFORMED, Refusal, one_line
from nbcad.dicom.sources import HEADER_BYTES, HEADER_READS, IGNORED, REFUSED, BoundedFile, FileRecord, Source
from nbcad.dicom.types import Geometry, Slice, StoredPixels, shared
from nbcad.dicom.weighting import image_types, weighting
from nbcad.language.message import EMPTY, Message, message

# What is larger is a wrong Pixel Spacing, and would fill the memory. Whole bodies are composed of several fields.
_LONGEST_MM = 2500.0
_LARGEST_MM2 = 1.2e6
_FARTHEST_MM = 10_000.0


@dataclass(frozen=True, slots=True)
class About:
    """The header's facts about an image's patient, study and series."""

    study_uid: str
    series_uid: str
    patient_id: str
    age: Age | None
    description: str
    phantom: bool


@dataclass(frozen=True, slots=True)
class Image:
    """A slice with what decides the stack that it belongs to."""

    slice: Slice
    about: About
    weighting: str
    image_types: tuple[str, ...]  # see `weighting.image_types`
    b_value: float | None
    echo_ms: float | None
    marks: tuple  # values of `MARKS`
    instance: int
    no_place: Message  # why it has no geometry; empty if it has one


# What tells images at one place apart, in this order, with the name that a report gives it.
MARKS = {
    "ImageType": message("image type"),
    "TemporalPositionIdentifier": message("temporal position"),
    "DiffusionGradientOrientation": message("diffusion direction"),
    "StackID": message("stack"),
    "AcquisitionNumber": message("acquisition"),
    "TriggerTime": message("trigger time"),
}


def read_images(source: Source, record: FileRecord) -> list[Image]:
    """Return the images of one file; none, with the reason in ``record``, if none can be analysed.

    A frame of an Enhanced object that cannot be analysed is refused in ``record`` and left out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of a header's oddities becomes a reason in the record
        try:
            with record.budget(HEADER_BYTES, HEADER_READS) as budget, source.open(budget) as file:
                return _images(file, source, record)
        except InvalidDicomError:
            record.set_aside(IGNORED, message("not a DICOM file (PS3.10)"))
        except Ignored as ignored:
            record.set_aside(IGNORED, ignored.reason)
        except Refusal as refusal:
            record.set_aside(REFUSED, refusal.reason)
        except MALFORMED as error:
            record.set_aside(REFUSED, budget.refusal.reason if budget.refusal else _not_read(error))
    return []


def _not_read(error: Exception) -> Message:
    return message("header cannot be read: {error}", error=one_line(error))


def _images(file: BoundedFile, source: Source, record: FileRecord) -> list[Image]:
    file = without_deflation(file)
    dataset, values, stored = parse(file)
    about = _about(values)
    record.frames = stored.frames
    if values["SOPClassUID"] == MRImageStorage:
        frames: Iterable[Values | Refusal] = [values | functional_groups.real_world_map(dataset, file.budget)]
    else:
        frames = functional_groups.frames(dataset, values, stored.frames, file.budget)
    images = []
    for number, frame in enumerate(frames):
        try:
            if isinstance(frame, Refusal):
                raise frame
            images.append(_image(frame, about, stored, source, record, number))
        except Refusal as refusal:
            record.set_aside(REFUSED, refusal.reason, number)
        except MALFORMED as error:
            record.set_aside(REFUSED, _not_read(error), number)
    return images


def _about(values: Values) -> About:
    return About(
        study_uid=str(values["StudyInstanceUID"]),
        series_uid=str(values["SeriesInstanceUID"]),
        patient_id=str(values.get("PatientID") or ""),
        age=age_at_study(*(_text(values.get(keyword)) for keyword in ("PatientBirthDate", "StudyDate", "PatientAge"))),
        description=_text(values.get("SeriesDescription")) or _text(values.get("ProtocolName")),
        phantom=values.get("QualityControlImage") == "YES",
    )


def _image(frame: Values, about: About, stored: StoredPixels, source: Source, record: FileRecord, number: int) -> Image:
    spacing = _spacing(frame, stored)
    geometry, no_place = _geometry(frame, spacing)
    b_value = _number(frame, "DiffusionBValue")
    image = Slice(
        source=source,
        sop_uid=str(frame["SOPInstanceUID"]),
        rows=stored.rows,
        columns=stored.columns,
        geometry=geometry,
        spacing=spacing,
        record=record,
        frame=number,
        stored=shared(stored),
        rescale=shared(_rescale(frame)),
        sop_class_uid=shared(str(frame["SOPClassUID"])),
        frame_of_reference_uid=shared(str(frame.get("FrameOfReferenceUID") or "")),
    )
    return Image(
        slice=image,
        about=about,
        weighting=weighting(frame, about.description, b_value),
        image_types=shared(image_types(frame)),
        b_value=b_value,
        echo_ms=_number(frame, "EchoTime"),
        marks=tuple(_text(frame.get(keyword)) for keyword in MARKS),
        instance=int(_number(frame, "InstanceNumber") or 0),
        no_place=no_place,
    )


def _text(value: Any) -> str:
    """Return a value as DICOM writes it, with backslashes between several; empty if there is none."""
    return "" if value is None else "\\".join(map(str, value if isinstance(value, MultiValue) else [value]))


def _spacing(frame: Values, stored: StoredPixels) -> tuple[float, float]:
    spacing = _numbers(frame, "PixelSpacing", 2)
    if spacing is None or min(spacing) <= 0:
        raise Refusal(
            message("(0028,0030) Pixel Spacing is missing or not positive; nothing can be measured without it")
        )
    height, width = stored.rows * spacing[0], stored.columns * spacing[1]
    if max(height, width) > _LONGEST_MM or height * width > _LARGEST_MM2:
        raise Refusal(
            message(
                "(0028,0030) Pixel Spacing {value} makes the image wider than any MR scanner's field",
                value=str(spacing.tolist()),
            )
        )
    return shared((float(spacing[0]), float(spacing[1])))


def _geometry(frame: Values, spacing: tuple[float, float]) -> tuple[Geometry | None, Message]:
    """Return the image plane, or None and the reason; a plane is never invented."""
    orientation = _numbers(frame, "ImageOrientationPatient", 6)
    position = _numbers(frame, "ImagePositionPatient", 3)
    if orientation is None:
        return None, message("{element} is missing", element=named("ImageOrientationPatient"))
    along_row, along_column = _directions(tuple(orientation.tolist()))
    if position is None:
        return None, message("{element} is missing", element=named("ImagePositionPatient"))
    if abs(position).max() > _FARTHEST_MM:
        raise Refusal(
            message(
                "(0020,0032) Image Position (Patient) {value} is farther off than any scanner reaches",
                value=str(position.tolist()),
            )
        )
    return Geometry(position, along_row, along_column, *spacing), EMPTY


@lru_cache(maxsize=256)
def _directions(orientation: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors along a row and along a column; one pair for all images of the same orientation."""
    along_row, along_column = np.array(orientation[:3]), np.array(orientation[3:])
    if np.abs(orientation).max() > 1.01 or not _orthonormal(along_row, along_column):
        raise Refusal(
            message(
                "(0020,0037) Image Orientation (Patient) {value} is no pair of orthogonal unit vectors",
                value=str(list(orientation)),
            )
        )
    along_row.flags.writeable = along_column.flags.writeable = False
    return along_row, along_column


def _orthonormal(first: np.ndarray, second: np.ndarray) -> bool:
    lengths = np.sqrt([first @ first, second @ second])
    return abs(lengths - 1).max() <= 1e-2 and abs(first @ second) <= 1e-2


def _rescale(frame: Values) -> tuple[float, float]:
    """Slope and intercept of the modality's values (PS3.3 C.11.1, C.7.6.16.2.9).

    Where they are missing, a single linear real-world value map (C.7.6.16.2.11) takes their place: only so can slices
    be compared that were scaled one by one. Its unit does not matter, and beside a rescaling it adds nothing:
    preprocessing looks at how values compare within a series.
    """
    slope, intercept = frame.get("RescaleSlope"), frame.get("RescaleIntercept")
    if slope is None and intercept is None:
        slope, intercept = frame.get("RealWorldValueSlope"), frame.get("RealWorldValueIntercept")
    slope, intercept = float(1 if slope is None else slope), float(intercept or 0)
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise Refusal(
            message(
                "(0028,1053) Rescale Slope is {slope}, (0028,1052) Rescale Intercept is {intercept}",
                slope=str(slope),
                intercept=str(intercept),
            )
        )
    return slope, intercept


def _numbers(frame: Values, keyword: str, count: int) -> np.ndarray | None:
    """Return ``count`` finite numbers of an element, or None where it is absent or empty."""
    value = frame.get(keyword)
    if value is None or value == "":
        return None
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise Refusal(
            message(
                "{element} is {value}, not {count} finite numbers",
                element=named(keyword),
                value=str(value),
                count=count,
            )
        )
    return numbers


def _number(frame: Values, keyword: str) -> float | None:
    """Return the finite number of an optional element, or None."""
    try:
        value = float(frame[keyword])
    except (KeyError, TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None
