"""The report as DICOM objects in the studies that were analysed, to be sent to a PACS."""

from dataclasses import replace
from itertools import count
from pathlib import Path

from pydicom.dataset import Dataset

from nbcad.dicom import read_study
from nbcad.dicom.refusal import Refusal
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.language.message import Message, message
from nbcad.report.objects import SeriesReport, reason_against, write
from nbcad.report.patient import PatientAnalysis
from nbcad.report.secondary_capture import secondary_captures
from nbcad.report.structured_report import has_millimetres, structured_report
from nbcad.report.types import SeriesEntry, Software, StudyEntry


class DicomWriter:
    """Writes ``NNNN.sr.dcm`` and ``NNNN-MM.sc.dcm`` of each analysed series, NNNN counted over the report."""

    def __init__(self, software: Software, folder: Path):
        """
        Args:
            software: that made the report.
            folder: of the files; made if it is not there.
        """
        self.software, self.folder = software, folder
        folder.mkdir(exist_ok=True)

    def write(self, patient: PatientAnalysis) -> None:
        """Write one patient's objects; their names, and what could not be written of them, go into its entries."""
        numbers = count(patient.first_series)
        patient.studies = tuple(
            replace(
                study,
                series=tuple(
                    self._written(next(numbers), study, entry, analysis) if analysis else entry
                    for entry, analysis in zip(study.series, analyses, strict=True)
                ),
            )
            for study, analyses in zip(patient.studies, patient.analyses, strict=True)
        )

    def _written(self, number: int, study: StudyEntry, entry: SeriesEntry, analysis: SeriesAnalysis) -> SeriesEntry:
        """Write the objects of one series; return its entry with their names, or why there are none."""
        if not analysis.suitability.answered:
            return _noted(entry, _not_written(message("the images are unsuited")))
        first = analysis.slices[0]
        try:
            header, gaps = read_study(first.source, first.record)
        except Refusal as refusal:
            return _noted(entry, _not_written(refusal.reason))
        analysed = SeriesReport(number, study, entry, analysis, header, self.software)
        if reason := reason_against(analysed):
            return _noted(entry, _not_written(reason))
        notes = [message("In the DICOM objects {gap}.", gap=gap) for gap in gaps]
        if entry.lesions and first.geometry is not None and not has_millimetres(analysed):
            notes.append(
                message(
                    "The DICOM SR has no places in the patient: (0020,0052) Frame of Reference UID is missing, "
                    "not valid or not the same in all images."
                )
            )
        objects: dict[str, Dataset] = {f"{number:04d}.sr.dcm": structured_report(analysed)}
        for picture, capture in enumerate(secondary_captures(analysed), start=1):
            objects[f"{number:04d}-{picture:02d}.sc.dcm"] = capture
        for name, dataset in objects.items():
            write(dataset, analysed, self.folder / name)
        return replace(_noted(entry, *notes), dicom=tuple(objects))


def _not_written(reason: Message) -> Message:
    return message("No DICOM objects were written: {reason}.", reason=reason)


def _noted(entry: SeriesEntry, *notes: Message) -> SeriesEntry:
    return replace(entry, notes=(*entry.notes, *notes))
