"""metrics.html: all figures on one page that needs no other file, with their definitions beside them."""

import base64
from pathlib import Path

import jinja2

from nbcad.evaluation.counts import FIVE
from nbcad.runtime.files import replacing_file

# Name, where it stands in metrics.json, and whether lower is better.
_GLANCE = (
    ("organ accuracy, by slice", ("organ", "accuracy")),
    ("tumour sensitivity, by slice", ("tumour", "slice", "sensitivity")),
    ("tumour specificity, by slice", ("tumour", "slice", "specificity")),
    ("lesions found", ("tumour", "lesion", "sensitivity")),
    ("false lesions a patient", ("tumour", "lesion", "false_per_patient")),
    ("lesions found at 0.5 false a patient (free-response ROC)", ("tumour", "froc", "at", "0.5")),
    ("median IoU of found lesions", ("tumour", "lesion", "iou", "median_of_found")),
    ("median centre distance of found lesions, mm", ("tumour", "lesion", "centre_distance_mm", "median_of_found")),
    ("tumour sensitivity, by patient", ("tumour", "patient", "sensitivity")),
    ("tumour specificity, by patient", ("tumour", "patient", "specificity")),
    ("stage accuracy, by patient", ("stage", "accuracy")),
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


def write_page(document: dict, plots: dict[str, str], beside: list[dict], path: Path) -> None:
    """Write the page.

    Args:
        document: ``metrics.json``.
        plots: of `plots.draw`.
        beside: other models' ``metrics.json`` of the same images, shown in columns of their own.
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
        m=document,
        five=FIVE,
        compared=[document, *beside],
        glance=[(name, [_at(d, where) for d in (document, *beside)]) for name, where in _GLANCE],
        plots={name: (_CAPTIONS[name], _data_uri(svg)) for name, svg in plots.items()},
    )
    with replacing_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _at(document: dict, where: tuple[str, ...]) -> dict:
    for name in where:
        document = document[name]
    return document


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
