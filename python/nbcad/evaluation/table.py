"""The figures as text: the compact table of `nbcad evaluate`."""

from nbcad.evaluation.bootstrap import Figure
from nbcad.evaluation.counts import DEFINITIONS, FIVE
from nbcad.evaluation.types import FiveMeasures, Metrics

_HEADS = ("sensitivity", "specificity", "accuracy", "miss rate", "FP rate")


def print_figures(metrics: Metrics) -> None:
    """Print the five measures, lesions, accuracies and baselines of ``metrics.json``, each with its interval."""
    kind = " (synthetic data)" if metrics.synthetic else ""
    organ, tumour, stage = metrics.organ, metrics.tumour, metrics.stage
    print(f"Held-out {metrics.data.split} patients: {metrics.data.patients}{kind}", end="")
    print("; in brackets the 95 % interval, by patient")
    print(f"{'':22}" + "".join(f"{head:>20}" for head in _HEADS) + "   counts")
    rows: dict[str, FiveMeasures] = {f"organ {name}": row for name, row in organ.one_against_rest.items()}
    rows |= {"tumour by slice": tumour.slice, "tumour by patient": tumour.patient}
    for name, row in rows.items():
        counts = " ".join(f"{k.upper()} {getattr(row, k)}" for k in ("tp", "fn", "tn", "fp"))
        print(f"{name:22}" + "".join(f"{short(getattr(row, k)):>20}" for k in FIVE) + f"   {counts}{kind}")
    lesion = tumour.lesion
    print(f"{'tumour by lesion':22}{short(lesion.sensitivity):>20}{'':40}{short(lesion.miss_rate):>20}", end="")
    print(f"{'':20}   {lesion.found} of {lesion.true} found, {lesion.false} false{kind}")
    print(f"false lesions a patient: {short(lesion.false_per_patient)}{kind}")
    at = ", ".join(f"{short(f)} at {x}" for x, f in tumour.froc.at.items())
    print(f"lesions found by the free-response ROC, at false ones a patient: {at}{kind}")
    iou, distance = lesion.iou.median_of_found, lesion.centre_distance_mm.median_of_found
    print(f"found lesions, medians: IoU {short(iou)}, centres {short(distance)} mm apart{kind}")
    print(f"organ accuracy: {short(organ.accuracy)} of {organ.slices} slices{kind}")
    print(f"patient stage accuracy: {short(stage.accuracy)} of {metrics.data.patients} patients{kind}")
    for task, baselines in metrics.baselines.items():
        for baseline in baselines:
            print(f"baseline, {task}, {baseline.name}: {short(baseline.accuracy)}{kind}")
    print("; ".join(f"{name.replace('_', ' ')} = {DEFINITIONS[name]}" for name in FIVE))


def short(figure: Figure) -> str:
    """``0.843 [0.70, 0.93]``, or why there is none."""
    if figure.value is None:
        return "n/a" if len(figure.reason) > 14 and "run" not in figure.reason else figure.reason
    if figure.interval is None:
        return f"{figure.value:.3f}"
    low, high = figure.interval
    return f"{figure.value:.3f} [{low:.2f}, {high:.2f}]"
