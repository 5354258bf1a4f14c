#!/usr/bin/env python3
"""Find, place and stage neuroblastoma on DICOM: report.json and report.html. Research use only."""

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

    from nbcad.pipeline import analyse, load_models, software
    from nbcad.report import Language, Pages, write_json

    cli.existing(options.dicom, "DICOM input")
    for name in ("report.json", "report.html"):
        cli.refuse_existing(options.out / name, options.force)
    models = load_models(options.models, options.device, options.stage)
    pages = Pages(options.out, Language(options.lang), software(models, options.device))
    report = analyse(options.dicom, models, options.device, options.series, pages.add)
    pages.close(report)
    write_json(report, options.out / "report.json")
    summary = report["summary"]
    for study in report["studies"]:
        print(f"study {study['study_uid']}: image-suggested stage {study['stage']['label'] or 'not known'}")
    print(
        f"{summary['lesions']} lesions in {summary['slices']} slices; files: {summary['files_used']} used, "
        f"{summary['files_refused']} refused, {summary['files_ignored']} ignored"
    )
    print(f"report: {options.out / 'report.html'} (research use only, not for clinical diagnosis)")
    return cli.PARTLY_REFUSED if summary["files_refused"] or summary["frames_refused"] else cli.DONE


if __name__ == "__main__":
    cli.run(main)
