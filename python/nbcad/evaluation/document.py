"""``metrics.json``: figures with what they were measured on, by what, and how they are defined."""

import platform
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import nbcad
from nbcad.errors import InputError
from nbcad.evaluation import bootstrap, counts, figures
from nbcad.evaluation.bootstrap import Figure
from nbcad.evaluation.records import SPLIT, Records
from nbcad.evaluation.types import Baseline, BootstrapFacts, MeasuredData, Metrics, MetricsSoftware, ModelFolders
from nbcad.inference.models import Models
from nbcad.nets.caffe_net import caffe
from nbcad.runtime.json_file import read_json

SCHEMA = "nbcad-metrics/1"
DEFINITIONS = counts.DEFINITIONS | {
    "TP, FN, TN, FP": "positive and found, positive and missed, negative and not found, negative and found cases",
    "organ": "slices whose region is annotated, each region against the others; the answer other is always wrong",
    "tumour by slice": "slices that were looked at; positive if it shows a true lesion, found if it shows a found one",
    "tumour by patient": "positive if the patient's stage is not normal, found if the most probable label is not",
    "lesion": (
        "a true and a found lesion are one if the centre of either lies within a box of the other on that slice; a "
        "found one stands for one true lesion at most; a missed lesion always counts; found ones centred on a slice "
        "that was not looked at are neither true nor false"
    ),
    "false_per_patient": "found lesions that meet no true one, divided by all patients",
    "stage": "the patient's image-suggested stage from all lesions of all series, against that in the sample database; "
    "where none is suggested the answer is not right",
    "ROC": (
        "tumour: over the threshold of the smoothed tumour probability at which lesions are sought; organ: over the "
        "probability of the region. AUC: share of pairs of a positive and a negative case that are in the right order"
    ),
    "free-response ROC": (
        "lesions sought again at each threshold, as the software would at that operating point; the curve is the most "
        "that any threshold finds with at most so many false lesions a patient on these very patients, so it is a "
        "little kinder than an operating point chosen elsewhere"
    ),
    "IoU": "shared volume of the found and the true lesion's boxes, slice by slice, divided by their joint volume",
    "centre distance": (
        "between the centre that the report gives and the centre of the true lesion's boxes, in patient millimetres"
    ),
    "calibration": (
        "cases by the tenth of the probability given (organ: of the most probable region; tumour: of a slice's most "
        "suspicious place; stage: of the suggested one, where a lesion was found) against the share that is so"
    ),
    "brier": "mean of (probability - outcome)^2: 0 is perfect, 0.25 is a coin's",
    "over_confidence": "mean probability less the share that is so; negative: too modest",
    "95 % interval": (
        f"percentile bootstrap by patient: whole patients drawn with replacement, {bootstrap.RESAMPLES} times, seed "
        f"{bootstrap.SEED}, from those who count in the figure; lower and upper bound hold the middle 95 %. [1, 1] "
        "says that nobody was wrong, not that nobody can be: of n patients, up to 3/n may still "
        "be. Of fewer than about ten patients an interval is too narrow"
    ),
}


def assemble(
    records: Records, models: Models, folders: ModelFolders, baselines: dict[str, list[Baseline]] | None = None
) -> Metrics:
    """Return all of ``metrics.json``.

    Args:
        records: of `records.gather`.
        models: that were run.
        folders: of the models, as they shall be named.
        baselines: of `baselines.measure_baselines`.
    """
    every = [series for patient in records.patients for series in patient.series]
    measured = figures.of_records(records)
    return _rounded(
        Metrics(
            schema=SCHEMA,
            research_use_only=True,
            synthetic=records.synthetic,
            software=MetricsSoftware(nbcad.__version__, caffe.__version__, platform.python_version(), models.sha256),
            models=folders,
            operating_point=models.point,
            data=MeasuredData(
                split=SPLIT,
                patients=len(records.patients),
                series=len(every),
                slices=sum(len(series.slices) for series in every),
                lesions=sum(len(series.lesions) for series in every),
                pixels_sha256=records.fingerprint,
            ),
            bootstrap=BootstrapFacts(
                unit="patient",
                method="percentile",
                level=bootstrap.LEVEL,
                resamples=bootstrap.RESAMPLES,
                seed=bootstrap.SEED,
            ),
            organ=measured.organ,
            tumour=measured.tumour,
            stage=measured.stage,
            strata=measured.strata,
            baselines={task: tuple(rows) for task, rows in (baselines or {}).items()},
            definitions=DEFINITIONS,
        )
    )


def _rounded(content: Any) -> Any:
    """Return the same with every `Figure` as it is written."""
    if isinstance(content, Figure):
        return content.rounded()
    if is_dataclass(content) and not isinstance(content, type):
        return replace(content, **{one.name: _rounded(getattr(content, one.name)) for one in fields(content)})
    if isinstance(content, dict):
        return {name: _rounded(value) for name, value in content.items()}
    return tuple(map(_rounded, content)) if isinstance(content, tuple) else content


def read_beside(path: Path, metrics: Metrics) -> Metrics:
    """Return another ``metrics.json``, to be shown beside this one.

    Raises:
        InputError: it cannot be read, has another schema, or was measured on other images.
    """
    other = read_json(path, Metrics, InputError, "run `nbcad evaluate` on its models again", SCHEMA)
    if other.data.pixels_sha256 != metrics.data.pixels_sha256:
        raise InputError(f"{path} was measured on other images; measure its models with the same --database")
    return other
