"""The report as DICOM objects in the studies that were analysed, to be sent to a PACS."""

from pathlib import Path

from pydicom.dataset import Dataset

from nbcad.dicom import read_study
from nbcad.dicom.refusal import Refusal
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.report.objects import Analysed, why_not, write
from nbcad.report.patient import PatientAnalysis
from nbcad.report.secondary_capture import secondary_captures
from nbcad.report.structured_report import has_millimetres, structured_report


class DicomWriter:
    """Writes ``NNNN.sr.dcm`` and ``NNNN-MM.sc.dcm`` of each analysed series, NNNN counted over the report."""

    def __init__(self, models: dict[str, str], folder: Path):
        """
        Args:
            models: SHA-256 by name of those that made the report.
            folder: of the files; made if it is not there.
        """
        self.models, self.folder = models, folder
        folder.mkdir(exist_ok=True)

    def write(self, patient: PatientAnalysis) -> None:
        """Write one patient's objects; their names, and what could not be written of them, go into its entries."""
        analysed = ((study, entry, analysis) for study, entry, analysis in patient.series() if analysis)
        for number, (study, entry, analysis) in enumerate(analysed, start=patient.first_series):
            names, notes = self._write_series(number, study, entry, analysis)
            entry["dicom"] += names
            entry["notes"] += notes

    def _write_series(
        self, number: int, study: dict, entry: dict, analysis: SeriesAnalysis
    ) -> tuple[list[str], list[str]]:
        first = analysis.slices[0]
        try:
            header, notes = read_study(first.source, first.record)
        except Refusal as refusal:
            return [], [f"No DICOM objects were written: {refusal}."]
        of = Analysed(number, study, entry, analysis, header, self.models)
        if reason := why_not(of):
            return [], [f"No DICOM objects were written: {reason}."]
        notes = [f"In the DICOM objects {note}." for note in notes]
        if entry["lesions"] and first.geometry is not None and not has_millimetres(of):
            notes.append(
                "The DICOM SR has no places in the patient: (0020,0052) Frame of Reference UID is missing, "
                "not valid or not the same in all images."
            )
        objects: dict[str, Dataset] = {f"{number:04d}.sr.dcm": structured_report(of)}
        for picture, capture in enumerate(secondary_captures(of), start=1):
            objects[f"{number:04d}-{picture:02d}.sc.dcm"] = capture
        for name, dataset in objects.items():
            write(dataset, of, self.folder / name)
        return list(objects), notes
