"""report.html: one page that needs no other file, for a doctor to check the result against the images."""

from pathlib import Path

import jinja2

from nbcad import cli
from nbcad.pipeline import PatientAnalysis, SeriesAnalysis
from nbcad.report.pictures import data_uri, evidence, evidence_slices


def pictures_of(patient: PatientAnalysis) -> list[dict]:
    """What `write_html` shows of each series of a patient; empty for those not analysed."""
    return [_evidence_of(analysis) if analysis else {} for *_, analysis in patient.series()]


def write_html(report: dict, pictures: list[dict], path: Path) -> None:
    """Write the page.

    Args:
        report: of `pipeline.analyse`.
        pictures: `pictures_of` all its patients.
        path: of the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nbcad.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["mm"] = lambda point: ", ".join(str(round(value)) for value in point)
    page = environment.get_template("report.html.j2").render(
        report=report, pictures=pictures, not_used=_by_reason(report["files"])
    )
    with cli.replacing_file(path) as temporary:
        # A file name on disk need not be text: Python stands surrogates for such bytes, which UTF-8 cannot hold.
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")


def percent(probability: float) -> str:
    """Whole per cent; nothing is written as certain, and as impossible only what a rule excludes."""
    if 0 < probability < 0.01:
        return "<1 %"
    if probability > 0.99:
        return ">99 %"
    return f"{100 * probability:.0f} %"


def _by_reason(files: list[dict]) -> dict[tuple[str, str], list[str]]:
    """Paths of the files that were not used, or not in full, by status and reason, the refused ones first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for file in sorted(files, key=lambda file: file["status"] != "refused"):
        if file["reason"]:
            groups.setdefault((file["status"], file["reason"]), []).append(file["path"])
    return groups


def _evidence_of(analysis: SeriesAnalysis) -> dict:
    """The middle slices of the most probable lesions; without a lesion the slice with the highest probability."""
    shown = evidence_slices(analysis)
    captions = {
        index: f"Lesion {', '.join(map(str, numbers))}" if numbers else "No lesion; highest tumour probability"
        for index, numbers in shown.items()
    }
    return {
        "shown": [_picture(analysis, index, caption) for index, caption in captions.items()],
        "without": len(analysis.lesions) - sum(map(len, shown.values())),
    }


def _picture(analysis: SeriesAnalysis, index: int, caption: str) -> dict:
    return {
        "caption": f"{caption}: slice {index + 1} of {len(analysis.slices)}",
        "plain": data_uri(evidence(analysis, index, overlay=False)),
        "marked": data_uri(evidence(analysis, index)),
    }
