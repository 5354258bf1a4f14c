"""What our DICOM objects share: patient and study of the source, a series of their own, who made them and what for."""

import hashlib
import io
import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from pydicom import config, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import UID, MRImageStorage, generate_uid

import nbcad
from nbcad import NAME
from nbcad.dicom import Slice
from nbcad.dicom.header import named
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.language.message import EMPTY, Message, message
from nbcad.report.types import SeriesEntry, Software, StudyEntry

RESEARCH_USE = "Research use only. Not for clinical diagnosis."
UTF_8 = "ISO_IR 192"
# Beyond what scanners count to; a report's series are numbered from there.
SR_SERIES, SC_SERIES = 8000, 9000


@dataclass(frozen=True)
class SeriesReport:
    """One analysed series with all that its objects are made from."""

    number: int  # of the analysed series, from 1 over the whole report
    study: StudyEntry
    series: SeriesEntry
    analysis: SeriesAnalysis
    header: Dataset  # of `nbcad.dicom.read_study`
    software: Software

    @property
    def version(self) -> str:
        """Return the software's version and the beginning of a hash over its models."""
        return f"{nbcad.__version__}+{hashlib.sha256(self._models.encode()).hexdigest()[:12]}"

    @property
    def _models(self) -> str:
        return json.dumps(self.software.models, sort_keys=True)

    def uid(self, *parts: object) -> str:
        """Return a UID that is always the same for the same parts and models (PS3.5 B.2)."""
        digest = hashlib.sha256(json.dumps([*parts, self._models]).encode()).digest()
        return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def reason_against(analysed: SeriesReport) -> Message:
    """Return why no DICOM objects can be written for a series: an invalid UID or a patient ID that cannot be copied."""
    series = analysed.analysis.series
    uids = [("StudyInstanceUID", series.study_uid), ("SeriesInstanceUID", series.series_uid)]
    uids += [("SOPInstanceUID", image.sop_uid) for image in analysed.analysis.slices]
    for keyword, uid in uids:
        if not valid(uid):
            return message("{element} {uid} is no valid UID", element=named(keyword), uid=uid)
    if analysed.header.PatientID.strip() != series.patient_id.strip():
        return message("{element} cannot be copied", element=named("PatientID"))
    return EMPTY


def valid(uid: str) -> bool:
    """Return whether a UID is valid (PS3.5 9.1)."""
    return UID(uid, config.IGNORE).is_valid


def shared(analysed: SeriesReport, first_series: int, description: str) -> dict:
    """Arguments that all constructors of highdicom take.

    An object and its series have new UIDs each time: a report of today is another one than yesterday's of the same
    images, with a date of its own, and two contents must never share a UID (PS3.5 9). What lets readers find the same
    lesion in both are the tracking UIDs, see `Analysed.uid`.
    """
    return {
        "series_instance_uid": generate_uid(prefix=None),
        "series_number": first_series + analysed.number,
        "series_description": f"{NAME} {description}, research use only",
        "manufacturer": NAME,
        "manufacturer_model_name": NAME,
        "software_versions": analysed.version,
        "content_qualification": "RESEARCH",
        "specific_character_set": UTF_8,
    }


def write(dataset: Dataset, analysed: SeriesReport, path: Path) -> None:
    """Write an object, as one of the source's patient and study."""
    dataset.update(analysed.header)
    if analysed.analysis.series.phantom:
        dataset.QualityControlSubject = "YES"
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())  # pydicom puts a traceback into what a full disk says


def frame_number(image: Slice) -> int | None:
    """Return an image's frame number within its object, from 1; None in an object of a single image."""
    return None if image.sop_class_uid == MRImageStorage else image.frame + 1
