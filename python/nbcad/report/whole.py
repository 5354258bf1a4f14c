"""The whole report of some DICOM: report.json, report.html and the objects for a PACS."""

from pathlib import Path

from nbcad import parallel
from nbcad.models import Models
from nbcad.pipeline import analyse, software
from nbcad.report.output import report_folder
from nbcad.report.writer import ReportWriter


def write_report(
    dicom: Path,
    out: Path,
    models: Models,
    device: str,
    language: str,
    only_series: str | None = None,
    force: bool = False,
    dask: str | None = None,
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
        dask: see `parallel.on`.

    Returns:
        What report.json holds.

    Raises:
        InputError, OutputError, WorkerError: see `pipeline.analyse`, `report_folder` and `parallel.on`.
    """
    with report_folder(out, dicom, force) as folder:
        needed = [dicom, folder, *(models.files.paths if models.files else ())]
        with parallel.on(dask, map, needed) as each:
            writer = ReportWriter(folder, language, software(models, device))
            report = analyse(dicom, models, device, only_series, writer.write, writer.take, each, origin)
            writer.close(report)
    return report
