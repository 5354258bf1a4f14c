#!/usr/bin/env python3
"""Find, place and stage neuroblastoma on DICOM: report.json, report.html and objects for a PACS. Research use only."""

import gc
from pathlib import Path

from nbcad import cli


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("dicom", type=Path, metavar="DICOM_DIR", help="folder, zip or file")
    arguments.add_argument("--out", type=Path, required=True, help="folder of the report")
    arguments.add_argument("--models", type=Path, default="runs", help="folder of the trained models")
    arguments.add_argument("--stage", type=Path, metavar="DIR", help="folder of another stager than MODELS/stage")
    arguments.add_argument(
        "--series",
        metavar="UID",
        help="analyse this SeriesInstanceUID and no other, whatever data/series_rules.toml says",
    )
    cli.add_language(arguments)
    cli.add_device(arguments)
    cli.add_force(arguments)
    options = arguments.parse_args()

    gc.disable()  # what is imported stays: to go through it at each collection would take a tenth of the time
    from nbcad.memory import return_large_blocks
    from nbcad.models import load_models
    from nbcad.pipeline import analyse, software
    from nbcad.report import DICOM, HTML, JSON, DicomWriter, Language, Pages, report_folder, write_json

    gc.freeze()
    gc.enable()
    return_large_blocks()  # the memory does not grow with the number of patients
    cli.existing(options.dicom, "DICOM input")
    with report_folder(options.out, options.dicom, options.force) as folder:
        models = load_models(options.models, options.device, options.stage)
        objects = DicomWriter(models, folder / DICOM)
        pages = Pages(folder, Language(options.lang), software(models, options.device))

        def finish(patient) -> None:
            objects.write(patient)
            pages.add(patient)

        report = analyse(options.dicom, models, options.device, options.series, finish)
        pages.close(report)
        write_json(report, folder / JSON)
    summary = report["summary"]
    for study in report["studies"]:
        print(f"study {study['study_uid']}: image-suggested stage {study['stage']['label'] or 'not known'}")
    print(
        f"{summary['lesions']} lesions in {summary['slices']} slices; files: {summary['files_used']} used, "
        f"{summary['files_refused']} refused, {summary['files_ignored']} ignored"
    )
    without = [
        s for study in report["studies"] for s in study["series"] if s["status"] == "analysed" and not s["dicom"]
    ]
    if without:
        print(f"{len(without)} series without DICOM objects; their notes say why")
    print(f"report: {options.out / HTML} (research use only, not for clinical diagnosis)")
    return cli.PARTLY_REFUSED if summary["files_refused"] or summary["frames_refused"] else cli.DONE


if __name__ == "__main__":
    cli.run(main)
