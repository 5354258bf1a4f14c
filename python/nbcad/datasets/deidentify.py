"""De-identified copies of MR archives by DICOM PS3.15 Annex E; `confidentiality_profile` cleans each data set.

Images with text in their pixels are refused, and so are objects that are neither MR images nor outlines on them.
"""

import csv
import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage, RTStructureSetStorage, SegmentationStorage

from nbcad.annotation.annotations import HEADER, read_annotations
from nbcad.datasets.confidentiality_profile import Secrets, clean
from nbcad.dicom import REFUSED, USED, FileRecord
from nbcad.dicom.refusal import MALFORMED, one_line
from nbcad.errors import InputError
from nbcad.language.message import EMPTY, Message, message
from nbcad.language.terms import term
from nbcad.runtime.files import existing, refuse_existing, replacing_folder, secret_key
from nbcad.runtime.progress import progress

STORED = (MRImageStorage, EnhancedMRImageStorage, SegmentationStorage, RTStructureSetStorage)
PATIENTS_HEADER = ["patient_id", "stage", "organ"]


@dataclass(frozen=True)
class _Written:
    """The images and series of which copies were written."""

    images: dict[str, str] = field(default_factory=dict)  # path by SOP Instance UID
    patients: set[str] = field(default_factory=set)  # Patient IDs


@dataclass(frozen=True)
class Tables:
    """The CSVs that describe the images and are copied with them."""

    annotations: Path | None = None  # as in `annotations`
    patients: Path | None = None  # with the columns ``patient_id``, ``stage`` and, if wished, ``organ``


def deidentify(
    source: Path, out: Path, key: Path, tables: Tables, keep_characteristics: bool, force: bool
) -> tuple[list[FileRecord], dict[str, int]]:
    """Write a de-identified copy of every file below ``source`` that can be de-identified.

    The copies are ``out``/dicom/PATIENT/SERIES/IMAGE.dcm.

    Args:
        source: folder or file.
        out: folder of the copies, replaced as a whole.
        key: file of the secret, created if it is missing. Anyone who has it can recognise the patient of a copy.
        tables: CSVs from which ``out``/annotations.csv and ``out``/patients.csv are written for the copies.
        keep_characteristics: keep age, sex, size and weight.
        force: replace ``out`` if it exists.

    Returns:
        The outcome of each file (`USED`, or `REFUSED` with the reason), and by the name of each CSV the number of its
        images or patients that have no copy and were left out.

    Raises:
        InputError: ``source`` is missing or empty, the key lies within ``out``, or a table is malformed.
        OutputExistsError: ``out`` exists and ``force`` is false.
    """
    existing(source, "input")
    if key.absolute().is_relative_to(out.absolute()):
        raise InputError(f"the key {key} lies in the folder of the copies; who gets them must not get the key")
    refuse_existing(out, force)
    paths = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.is_file())
    if not paths:
        raise InputError(f"{source} holds no file")
    if tables.annotations:
        read_annotations(tables.annotations)
    secrets, written, files = Secrets(secret_key(key)), _Written(), []
    with replacing_folder(out) as folder:
        for path in progress(paths, desc="deidentify", unit="files"):
            files.append(_copy(path, folder / "dicom", secrets, keep_characteristics, written))
        left_out = {}
        for table, name, header, replaced in (
            (tables.annotations, "annotations.csv", HEADER, {uid: secrets.uid(uid) for uid in written.images}),
            (tables.patients, "patients.csv", PATIENTS_HEADER, {p: secrets.patient(p) for p in written.patients}),
        ):
            if table:
                left_out[name] = _copy_table(table, folder / name, header, replaced)
    return files, left_out


def reason_against(dataset: Dataset) -> Message:
    """Return why an object cannot be de-identified here, naming the tag; empty if it can."""
    sop_class = dataset.get("SOPClassUID")
    if sop_class not in STORED:
        name = getattr(sop_class, "name", sop_class)
        return message(
            "(0008,0016) SOP Class UID is {value}; only MR images, segmentations and structure sets are copied",
            value=str(name) if name else term("missing"),
        )
    if dataset.get("BurnedInAnnotation") == "YES":
        return message("(0028,0301) Burned In Annotation is YES: the pixels may name the patient")
    if "ConversionType" in dataset:
        return message("(0008,0064) Conversion Type is {value}: a secondary capture", value=str(dataset.ConversionType))
    if any("SCREEN" in str(value) for value in dataset.get("ImageType") or []):
        return message("(0008,0008) Image Type is {value}: a screen's content", value="/".join(dataset.ImageType))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if not dataset.get(keyword):
            tag = Tag(keyword)
            return message("{element} is missing", element=f"{tag} {dictionary_description(tag)}")
    return EMPTY


def _copy(path: Path, folder: Path, secrets: Secrets, keep_characteristics: bool, written: _Written) -> FileRecord:
    """Copy one file, enter it in ``written``, and return its record."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            if reason := reason_against(dataset):
                return FileRecord(str(path), REFUSED, reason)
            uid, patient = str(dataset.SOPInstanceUID), str(dataset.get("PatientID") or "")
            if known := written.images.get(uid):
                reason = message("(0008,0018) SOP Instance UID is that of {path}", path=known)
                return FileRecord(str(path), REFUSED, reason)
            clean(dataset, secrets, keep_characteristics)
            dataset.file_meta = _file_meta(dataset)
            dataset.preamble = bytes(128)
            copy = io.BytesIO()
            dataset.save_as(copy, enforce_file_format=True)
    except MALFORMED as error:
        reason = message("cannot be read as DICOM (PS3.10): {error}", error=one_line(error))
        return FileRecord(str(path), REFUSED, reason)
    target = folder / dataset.PatientID / dataset.SeriesInstanceUID / f"{dataset.SOPInstanceUID}.dcm"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(copy.getbuffer())
    written.images[uid] = str(path)
    written.patients.add(patient)
    return FileRecord(str(path), USED)


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    """Return a new file meta group, so that nothing of the sender's stays."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    return meta


def _copy_table(source: Path, target: Path, header: list[str], replaced: dict[str, str]) -> int:
    """Copy the columns of ``header`` from a CSV, and replace the values of the first one.

    Args:
        source: the CSV.
        target: its copy.
        header: names of the columns.
        replaced: replacements of the first column's values; rows with other values are left out.

    Returns:
        Number of values that were left out.

    Raises:
        InputError: the CSV lacks the first column.
    """
    left_out = set()
    with source.open(newline="", encoding="utf-8-sig") as old, target.open("w", newline="") as new:
        rows = csv.DictReader(old)
        columns = [name for name in header if name in (rows.fieldnames or [])]
        if header[0] not in columns:
            raise InputError(f"{source} has no column {header[0]}")
        writer = csv.DictWriter(new, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            if (original := row[header[0]]) in replaced:
                kept = {name: row[name] for name in columns}
                writer.writerow(kept | {header[0]: replaced[original]})
            else:
                left_out.add(original)
    return len(left_out)
