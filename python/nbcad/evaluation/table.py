"""The figures as text: the tables that `nbcad evaluate` prints."""

import textwrap

from nbcad.evaluation.bootstrap import Figure
from nbcad.evaluation.counts import DEFINITIONS, FIVE
from nbcad.evaluation.types import FiveMeasures, Metrics

_HEADS = ("sensitivity", "specificity", "accuracy", "miss rate", "FP rate")
_COUNTS = ("tp", "fn", "tn", "fp")
_WIDTH = 120  # columns of a line


def print_figures(metrics: Metrics) -> None:
    """Print the five measures, counts, lesions, accuracies and baselines of ``metrics.json``, with their intervals."""
    kind = " (synthetic data)" if metrics.synthetic else ""
    print(f"Held-out {metrics.data.split} patients: {metrics.data.patients}{kind}", end="")
    print("; in brackets the 95 % interval, by patient")
    _print_measures(metrics)
    _print_lesions(metrics)
    organ, stage = metrics.organ, metrics.stage
    print(f"organ accuracy: {short(organ.accuracy)} of {organ.slices} slices")
    print(f"patient stage accuracy: {short(stage.accuracy)} of {metrics.data.patients} patients")
    for task, baselines in metrics.baselines.items():
        for baseline in baselines:
            print(f"baseline, {task}, {baseline.name}: {short(baseline.accuracy)}")
    _print_wrapped("; ".join(f"{name.replace('_', ' ')} = {DEFINITIONS[name]}" for name in FIVE))


def _print_measures(metrics: Metrics) -> None:
    tumour = metrics.tumour
    rows: dict[str, FiveMeasures] = {f"organ {name}": row for name, row in metrics.organ.one_against_rest.items()}
    rows |= {"tumour by slice": tumour.slice, "tumour by patient": tumour.patient}
    print(f"{'':22}" + "".join(f"{head:>19}" for head in _HEADS))
    for name, row in rows.items():
        print(f"{name:22}" + "".join(f"{short(getattr(row, measure)):>19}" for measure in FIVE))
    lesion = tumour.lesion
    print(f"{'tumour by lesion':22}{short(lesion.sensitivity):>19}{'':38}{short(lesion.miss_rate):>19}")
    print(f"{'':22}" + "".join(f"{count.upper():>7}" for count in _COUNTS))
    for name, row in rows.items():
        print(f"{name:22}" + "".join(f"{getattr(row, count):>7}" for count in _COUNTS))


def _print_lesions(metrics: Metrics) -> None:
    lesion = metrics.tumour.lesion
    print(f"lesions: {lesion.found} of {lesion.true} found, {lesion.false} false", end="")
    print(f"; false ones a patient: {short(lesion.false_per_patient)}")
    at = ", ".join(f"{short(figure)} at {rate}" for rate, figure in metrics.tumour.froc.at.items())
    _print_wrapped(f"lesions found by the free-response ROC, at false ones a patient: {at}")
    iou, distance = lesion.iou.median_of_found, lesion.centre_distance_mm.median_of_found
    print(f"found lesions, medians: IoU {short(iou)}, centres {short(distance)} mm apart")


def _print_wrapped(text: str) -> None:
    print(textwrap.fill(text, _WIDTH, subsequent_indent="    "))


def short(figure: Figure) -> str:
    """Return a figure as ``0.843 [0.70, 0.93]``, or the reason why there is none."""
    if figure.value is None:
        return "n/a" if len(figure.reason) > 14 and "run" not in figure.reason else figure.reason
    if figure.interval is None:
        return f"{figure.value:.3f}"
    low, high = figure.interval
    return f"{figure.value:.3f} [{low:.2f}, {high:.2f}]"
