"""metrics.html: all figures on one page that needs no other file, with their definitions beside them."""

import base64
from collections.abc import Callable
from pathlib import Path

import jinja2

from nbcad.evaluation.bootstrap import Figure
from nbcad.evaluation.counts import FIVE
from nbcad.evaluation.types import Metrics
from nbcad.runtime.files import replacing_file

# Name, and the figure itself.
_GLANCE: tuple[tuple[str, Callable[[Metrics], Figure]], ...] = (
    ("organ accuracy, by slice", lambda m: m.organ.accuracy),
    ("tumour sensitivity, by slice", lambda m: m.tumour.slice.sensitivity),
    ("tumour specificity, by slice", lambda m: m.tumour.slice.specificity),
    ("lesions found", lambda m: m.tumour.lesion.sensitivity),
    ("false lesions a patient", lambda m: m.tumour.lesion.false_per_patient),
    ("lesions found at 0.5 false a patient (free-response ROC)", lambda m: m.tumour.froc.at["0.5"]),
    ("median IoU of found lesions", lambda m: m.tumour.lesion.iou.median_of_found),
    ("median centre distance of found lesions, mm", lambda m: m.tumour.lesion.centre_distance_mm.median_of_found),
    ("tumour sensitivity, by patient", lambda m: m.tumour.patient.sensitivity),
    ("tumour specificity, by patient", lambda m: m.tumour.patient.specificity),
    ("stage accuracy, by patient", lambda m: m.stage.accuracy),
)
_CAPTIONS = {
    "froc": "Free-response ROC of lesions",
    "roc_tumour": "ROC of the tumour",
    "roc_organ": "ROC of the regions, each against the others",
    "confusion_organ": "Regions of slices",
    "confusion_stage": "Stages of patients",
    "calibration_organ": "Calibration of the region",
    "calibration_tumour": "Calibration of the tumour, by slice",
    "calibration_stage": "Calibration of the stage",
    "iou": "Overlap of found with true lesions",
    "centre_distance": "Distance of found from true lesions",
}


def write_page(metrics: Metrics, plots: dict[str, str], beside: list[Metrics], path: Path) -> None:
    """Write the page.

    Args:
        metrics: to be shown.
        plots: of `plots.draw`.
        beside: those of other models on the same images, shown in columns of their own.
        path: of the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nbcad.evaluation", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = lambda name: name.replace("_", " ")
    page = environment.get_template("metrics.html.j2").render(
        m=metrics,
        five=FIVE,
        compared=[metrics, *beside],
        glance=[(name, [figure(each) for each in (metrics, *beside)]) for name, figure in _GLANCE],
        plots={name: (_CAPTIONS[name], _data_uri(svg)) for name, svg in plots.items()},
    )
    with replacing_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
