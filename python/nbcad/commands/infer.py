"""Find, place and stage neuroblastoma on DICOM: report.json, report.html and objects for a PACS. Research use only."""

import argparse
import gc
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from nbcad import cli
from nbcad.runtime import verbosity

if TYPE_CHECKING:
    from nbcad.report.types import Report

HELP = "find, place and stage neuroblastoma on DICOM, and write the report"
EXAMPLES = (
    "nbcad infer STUDY --out report",
    "nbcad infer studies.zip --out report --stage runs/beyond_paper/stage --lang zh",
    "nbcad infer --dicomweb https://pacs.hospital/dicom-web --study 1.2.3 --out report --store",
    "nbcad infer STUDIES --out report --dask local:4 --force",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument("dicom", type=Path, metavar="DICOM_DIR", nargs="?", help="folder, zip or file")
    parser.add_argument(
        "--dicomweb", type=cli.service_url, metavar="URL", help="instead fetch --study from this DICOMweb service"
    )
    parser.add_argument("--study", type=cli.uid, metavar="UID", help="StudyInstanceUID of the study to fetch")
    parser.add_argument("--store", action="store_true", help="store the report's DICOM objects in that service")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    cli.add_models(parser)
    parser.add_argument(
        "--series",
        metavar="UID",
        help="analyse this SeriesInstanceUID and no other, whatever config/series_rules.toml says",
    )
    cli.add_language(parser)
    cli.add_device(parser)
    cli.add_dask(parser)
    cli.add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Analyse, and say what was found and where the report is."""
    _check(options)

    gc.disable()  # what is imported stays: to go through it at each collection would take a tenth of the time
    from nbcad.infer import Input, write_report
    from nbcad.inference.models import load_models
    from nbcad.report import DICOM, check_out
    from nbcad.runtime.files import existing
    from nbcad.runtime.memory import return_large_blocks

    service = None
    if options.dicomweb:
        from nbcad.dicom.web import Service

        service = Service(options.dicomweb)
    gc.freeze()
    gc.enable()
    return_large_blocks()  # the memory does not grow with the number of patients
    with tempfile.TemporaryDirectory(prefix="nbcad-") as fetched:
        path = Path(fetched) if service else existing(options.dicom, "DICOM input")
        check_out(options.out, options.force)  # before all is fetched and loaded in vain
        models = load_models(options.models, options.device, options.stage)
        if service:
            service.fetch(options.study, path)
        images = Input(path, options.series, service.study(options.study) if service else "")
        report = write_report(images, options.out, models, options.lang, options.force, options.dask)
    _tell(report, options.out)
    if service and options.store:
        stored = service.store(sorted((options.out / DICOM).iterdir()))
        verbosity.note(f"stored: {stored} DICOM objects in {service.url}")
    summary = report.summary
    nothing_said = not summary.studies or summary.studies_without_answer
    return cli.PARTLY_REFUSED if summary.files_refused or summary.frames_refused or nothing_said else cli.DONE


def _check(options: argparse.Namespace) -> None:
    """Raise `UsageError` if the options do not go together."""
    if (options.dicom is None) == (options.dicomweb is None):
        raise cli.UsageError("give DICOM_DIR or --dicomweb URL, one of them")
    if bool(options.dicomweb) != bool(options.study) or (options.store and not options.dicomweb):
        raise cli.UsageError("--dicomweb URL and --study UID go together, and --store with both")
    if options.dicomweb and options.dask:
        raise cli.UsageError("--dask is for many studies in a folder, --dicomweb fetches one")


def _tell(report: "Report", out: Path) -> None:
    from nbcad.report import HTML

    summary = report.summary
    for study in report.studies:
        against = " ".join(map(str, study.suitability.reasons))
        verbosity.note(
            f"study {study.study_uid}: {study.suitability.verdict}{f' ({against})' if against else ''}; "
            f"image-suggested stage: {study.stage.label or 'none'}"
        )
    found = f"{summary.lesions} lesions in {summary.slices} slices"
    if not summary.slices:
        found = "no slice was analysed"
    elif summary.studies_without_answer == summary.studies:
        found = f"{summary.slices} slices analysed, none of a suited series"
    verbosity.note(
        f"{found}; files: {summary.files_used} used, {summary.files_refused} refused, {summary.files_ignored} ignored"
    )
    series = [entry for study in report.studies for entry in study.series if not entry.dicom]
    without = [entry for entry in series if entry.suitability and entry.suitability.answered]
    if without:
        verbosity.note(f"{len(without)} series without DICOM objects; their notes say why")
    verbosity.note(f"report: {out / HTML} (research use only, not for clinical diagnosis)")
    seconds = report.timing_s
    verbosity.detail(f"read {seconds.read:.1f} s, analyse {seconds.analyse:.1f} s, write {seconds.write:.1f} s")
