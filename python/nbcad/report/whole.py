"""The whole report of some DICOM: report.json, report.html and the objects for a PACS."""

from pathlib import Path

from nbcad.language import Language
from nbcad.models import Models
from nbcad.pipeline import PatientAnalysis, analyse, software
from nbcad.report.dicom import DicomWriter
from nbcad.report.html import Pages
from nbcad.report.json_file import write_json
from nbcad.report.output import DICOM, JSON, report_folder


def write_report(
    dicom: Path,
    out: Path,
    models: Models,
    device: str,
    language: str,
    only_series: str | None = None,
    force: bool = False,
    origin: str | None = None,
) -> dict:
    """Analyse everything below a path and write its report.

    Args:
        dicom: DICOM folder, file or zip.
        out: folder of the report, see `report_folder`.
        models: the trained models.
        device: on which they are.
        language: of the pages, one of `cli.LANGUAGES`.
        only_series, origin: see `pipeline.analyse`.
        force: replace a report.

    Returns:
        What report.json holds.

    Raises:
        InputError, OutputError: see `pipeline.analyse` and `report_folder`.
    """
    with report_folder(out, dicom, force) as folder:
        objects = DicomWriter(models, folder / DICOM)
        pages = Pages(folder, Language(language), software(models, device))

        def finish(patient: PatientAnalysis) -> None:
            objects.write(patient)
            pages.add(patient)

        report = analyse(dicom, models, device, only_series, finish, origin)
        pages.close(report)
        write_json(report, folder / JSON)
    return report
