"""Label files: what each says of which slice. CSV, DICOM SEG, RT Structure Set, and masks on the image's grid.

All but the CSV outline lesions and know neither stage nor region; those come from a table of the patients. Each
connected part of an outline on a slice becomes one box.
"""

import csv
import hashlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import RTStructureSetStorage, SegmentationStorage
from scipy import ndimage

from nbcad.annotation.annotations import HEADER, PatientLabel, SliceAnnotation, read_annotations
from nbcad.annotation.image_index import ImageIndex, Key, LabelRefusedError, Masks
from nbcad.annotation.mask import MASK_SUFFIXES, masks_of_volume
from nbcad.annotation.rtstruct import masks_of_structures
from nbcad.annotation.seg import masks_of_segmentation
from nbcad.dicom import REFUSED, USED, Series
from nbcad.dicom.refusal import MALFORMED, one_line
from nbcad.errors import InputError
from nbcad.imaging.boxes import Box
from nbcad.language.message import EMPTY, Message, message
from nbcad.nets.labels import NORMAL

LESIONS = "tumou?r|lesion|neoplasm|neuroblastoma|metasta|gtv"  # names of segments and ROIs that outline lesions
_OBJECTS: dict[str, str] = {SegmentationStorage: "seg", RTStructureSetStorage: "rtstruct"}


@dataclass
class LabelFile:
    """One label file: where it lies, and what it says of which slice."""

    path: Path
    source: str  # "csv", "seg", "rtstruct" or "mask"
    sha256: str
    status: str = USED
    reason: Message = EMPTY
    slices: dict[Key, SliceAnnotation] = field(default_factory=dict)


def read_label_files(
    paths: Iterable[Path], series: list[Series], patients: dict[str, PatientLabel], lesions: str = LESIONS
) -> list[LabelFile]:
    """Read all label files among ``paths``.

    Args:
        paths: label files, or folders, of which everything in them that is a label file is taken.
        series: of the images.
        patients: result of `annotations.read_patients`; may be empty for CSVs.
        lesions: regular expression; names of segments and ROIs that outline lesions. Case does not count.

    Returns:
        The label files in the order given. Of a SEG, a structure set or a mask that cannot be used, ``status`` is
        refused and ``reason`` says why, naming the tag.

    Raises:
        InputError: a path does not exist or is no label file; a CSV is malformed.
    """
    images = ImageIndex(series)
    pattern = re.compile(lesions, re.IGNORECASE)
    readers: dict[str, Callable[[Path], Masks]] = {
        "seg": lambda path: masks_of_segmentation(path, images, pattern),
        "rtstruct": lambda path: masks_of_structures(path, images, pattern),
        "mask": lambda path: masks_of_volume(path, images.series),
    }
    files = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of a file's oddities becomes a reason
        for path, source in _label_files(paths):
            file = LabelFile(path, source, hashlib.sha256(path.read_bytes()).hexdigest())
            files.append(file)
            if source == "csv":
                file.slices = read_annotations(path)
                continue
            try:
                file.slices = _annotations(readers[source](path), images, patients)
            except LabelRefusedError as refusal:
                file.status, file.reason = REFUSED, refusal.reason
            except MALFORMED as error:
                file.status, file.reason = REFUSED, message("cannot be read: {error}", error=one_line(error))
    return files


def boxes(mask: np.ndarray) -> list[Box]:
    """Return one box for each connected part (corners connect) of a mask, bool of shape (rows, columns)."""
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    return [
        (float(rows.start), float(columns.start), float(rows.stop), float(columns.stop))
        for rows, columns in ndimage.find_objects(parts)
    ]


def _label_files(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield every label file once, with its kind."""
    seen = set()
    for path in map(Path, paths):
        if not path.exists():
            raise InputError(f"label file {path} does not exist")
        for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            source = _source(file)
            if source is None and file is path:
                raise InputError(f"{path} is neither an annotation CSV nor a DICOM SEG, an RT Structure Set or a mask")
            if source is not None and file.resolve() not in seen:
                seen.add(file.resolve())
                yield file, source


def _source(path: Path) -> str | None:
    """Return the kind of a label file; None if it is not one."""
    name = path.name.lower()
    if name.endswith(".csv"):
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return "csv" if next(csv.reader(file), None) == HEADER else None
    if name.endswith(MASK_SUFFIXES):
        return "mask"
    try:
        sop_class = read_file_meta_info(path).get("MediaStorageSOPClassUID") or _sop_class_without_preamble(path)
    except InvalidDicomError:
        sop_class = _sop_class_without_preamble(path)
    except MALFORMED:
        return None
    return _OBJECTS.get(str(sop_class))


def _sop_class_without_preamble(path: Path) -> str | None:
    """Return (0008,0016) SOP Class UID of a data set without preamble, as written before PS3.10."""
    with path.open("rb") as file:
        if file.read(2) != b"\x08\x00":  # group 0008, little endian
            return None
    try:
        return pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=["SOPClassUID"]).SOPClassUID
    except MALFORMED:
        return None


def _annotations(masks: Masks, images: ImageIndex, patients: dict[str, PatientLabel]) -> dict[Key, SliceAnnotation]:
    """Return the boxes with the patient's stage; slices with a lesion also get the patient's organ, if known."""
    slices = {}
    for key, mask in masks.items():
        found = boxes(mask)
        annotation = slices[key] = SliceAnnotation(lesions_known=True)
        if not found:
            continue
        label = patients.get(images.by_key[key][0].patient_id)
        if label is None:
            raise LabelRefusedError(
                message("outlines a lesion, but its patient's stage is not known; give --stages a row for it")
            )
        if label.stage == NORMAL:
            raise LabelRefusedError(
                message("outlines a lesion of a patient whose stage is normal; correct one of the two")
            )
        annotation.organ = label.organ
        annotation.lesions = [(label.stage, box) for box in found]
    return slices
