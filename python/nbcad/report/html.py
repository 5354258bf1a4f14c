"""report.html: one page that needs no other file, for a doctor to check the result against the images."""

from pathlib import Path

import jinja2
import numpy as np

from nbcad import cli
from nbcad.pipeline import SeriesAnalysis
from nbcad.report.pictures import data_uri, evidence


def write_html(report: dict, analyses: dict[int, SeriesAnalysis], path: Path) -> None:
    """Write the page.

    Args:
        report: of `pipeline.analyse`.
        analyses: the same call's analyses, by the number of the series in the report.
        path: of the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nbcad.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: f"{100 * value:.0f} %"
    environment.filters["mm"] = lambda point: ", ".join(f"{value:.0f}" for value in point)
    pictures = {number: _evidence_of(analysis) for number, analysis in analyses.items()}
    page = environment.get_template("report.html.j2").render(
        report=report, pictures=pictures, not_used=[f for f in report["files"] if f["status"] != "used"]
    )
    with cli.replacing_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _evidence_of(analysis: SeriesAnalysis) -> list[dict]:
    """The slice in the middle of each lesion; without a lesion the slice with the highest tumour probability."""
    if not analysis.lesions:
        index = int(np.argmax(analysis.tumour))
        return [_shown(analysis, index, f"no lesion; highest tumour probability, slice {index + 1}")]
    middles = [(n, list(x.boxes)[len(x.boxes) // 2]) for n, x in enumerate(analysis.lesions, start=1)]
    return [_shown(analysis, index, f"lesion {number}, slice {index + 1}") for number, index in middles]


def _shown(analysis: SeriesAnalysis, index: int, caption: str) -> dict:
    return {
        "caption": f"{caption} of {len(analysis.slices)}",
        "plain": data_uri(evidence(analysis, index, overlay=False)),
        "marked": data_uri(evidence(analysis, index)),
    }
