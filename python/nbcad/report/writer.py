"""The files of a report, of which each patient's are written where that patient is analysed."""

import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nbcad.language.catalogue import Language
from nbcad.report.dicom import DicomWriter
from nbcad.report.html import Content, Pages
from nbcad.report.output import DICOM, JSON
from nbcad.report.patient import PatientAnalysis
from nbcad.report.types import Report, Software
from nbcad.runtime.json_file import write_json

_PART = ".part-"


@dataclass(frozen=True)
class _Written:
    """The written part of one patient."""

    folder: Path
    shown: Content  # see `Pages.write`


@dataclass(frozen=True)
class PatientWriter:
    """Writes a patient's page and DICOM objects; can be sent to another process that sees the report's folder.

    Each call writes to a folder of its own: a worker that was taken for lost may still be writing, and what it writes
    must not be mixed with what another wrote of the same patient.
    """

    folder: Path  # of the report
    language: str
    software: Software

    def __call__(self, patient: PatientAnalysis) -> _Written:
        """Write the files of one patient."""
        part = Path(tempfile.mkdtemp(prefix=_PART, dir=self.folder))
        DicomWriter(self.software, part / DICOM).write(patient)
        return _Written(part, Pages(part, _language(self.language), self.software).write(patient))


@cache
def _language(code: str) -> Language:
    return Language(code)


class ReportWriter:
    """Puts a report together from what a `PatientWriter` wrote of each patient."""

    def __init__(self, folder: Path, language: str, software: Software):
        """Args: empty folder of the report; language of its pages; software of the report."""
        self.folder = folder.absolute()
        self.write = PatientWriter(self.folder, language, software)
        self._pages = Pages(self.folder, _language(language), software)
        (self.folder / DICOM).mkdir()

    def take(self, written: _Written) -> None:
        """Put the files of the next patient in their places."""
        for path in [path for path in written.folder.rglob("*") if path.is_file()]:
            place = self.folder / path.relative_to(written.folder)
            place.parent.mkdir(exist_ok=True)
            path.rename(place)
        shutil.rmtree(written.folder)
        self._pages.shown.append(written.shown)

    def close(self, report: Report) -> None:
        """Write report.html and report.json, after all patients were taken."""
        for left in self.folder.glob(f"{_PART}*"):  # by workers that were lost
            shutil.rmtree(left)
        self._pages.close(report)
        write_json(report, self.folder / JSON)
