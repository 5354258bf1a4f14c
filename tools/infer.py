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
    from nbcad.report import HTML, write_report

    gc.freeze()
    gc.enable()
    return_large_blocks()  # the memory does not grow with the number of patients
    cli.existing(options.dicom, "DICOM input")
    models = load_models(options.models, options.device, options.stage)
    report = write_report(
        options.dicom, options.out, models, options.device, options.lang, options.series, options.force
    )
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
