"""The report as DICOM objects in the studies that were analysed, to be sent to a PACS."""

from pathlib import Path

from nbcad.models import Models
from nbcad.pipeline import PatientAnalysis, SeriesAnalysis
from nbcad.report.objects import Analysed, why_not, write
from nbcad.report.secondary_capture import secondary_captures
from nbcad.report.structured_report import has_millimetres, structured_report
from nbcad.series import read_study
from nbcad.series.sources import Refusal


class DicomWriter:
    """Writes ``NNNN.sr.dcm`` and ``NNNN-MM.sc.dcm`` of each analysed series, NNNN counted over the report."""

    def __init__(self, models: Models, folder: Path):
        """
        Args:
            models: that made the report.
            folder: of the files; made if it is not there.
        """
        self.models, self.folder, self.number = models, folder, 0
        folder.mkdir(exist_ok=True)

    def write(self, patient: PatientAnalysis) -> None:
        """Write one patient's objects; their names, and what could not be written of them, go into its entries."""
        for study, entry, analysis in patient.series():
            if analysis:
                self.number += 1
                names, notes = self._write_series(study, entry, analysis)
                entry["dicom"] += names
                entry["notes"] += notes

    def _write_series(self, study: dict, entry: dict, analysis: SeriesAnalysis) -> tuple[list[str], list[str]]:
        first = analysis.slices[0]
        try:
            header, notes = read_study(first.source, first.record)
        except Refusal as reason:
            return [], [f"No DICOM objects were written: {reason}."]
        of = Analysed(self.number, study, entry, analysis, header, self.models.sha256)
        if reason := why_not(of):
            return [], [f"No DICOM objects were written: {reason}."]
        notes = [f"In the DICOM objects {note}." for note in notes]
        if entry["lesions"] and first.geometry is not None and not has_millimetres(of):
            notes.append(
                "The DICOM SR has no places in the patient: (0020,0052) Frame of Reference UID is missing, "
                "not valid or not the same in all images."
            )
        objects = {f"{self.number:04d}.sr.dcm": structured_report(of)}
        for number, capture in enumerate(secondary_captures(of), start=1):
            objects[f"{self.number:04d}-{number:02d}.sc.dcm"] = capture
        for name, dataset in objects.items():
            write(dataset, of, self.folder / name)
        return list(objects), notes
