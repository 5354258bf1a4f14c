"""Whose study it is, as its images say: the queue itself knows no patient."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from nbcad.dicom import FileRecord, Source, read_study
from nbcad.dicom.refusal import Refusal
from nbcad.node.study import Study


@dataclass(frozen=True)
class Patient:
    """Texts for a list; empty where the images do not say, or not in a way that can be read."""

    name: str = ""
    id: str = ""
    study_date: str = ""
    description: str = ""


def patient_of(study: Study) -> Patient:
    """Return the patient of a study, read from one of its objects."""
    return _read(study.images, study.last_received)


@lru_cache(maxsize=5000)
def _read(images: Path, _last_received: float) -> Patient:
    try:
        with os.scandir(images) as files:
            path = Path(next(files))
        header, _ = read_study(Source(path), FileRecord(str(path)))
    except (StopIteration, OSError, Refusal):
        return Patient()
    return Patient(_name(header), header.PatientID, _date(header.StudyDate), header.get("StudyDescription", ""))


def _name(header: Dataset) -> str:
    """Return the component groups of a name as people read them (PS3.5 6.2.1): "张三, Zhang San"."""
    name = PersonName(header.PatientName)
    groups = (" ".join(group.replace("^", " ").split()) for group in (name.ideographic, name.alphabetic))
    return ", ".join(group for group in groups if group)


def _date(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 else value
