"""The figures as pictures: SVG on white, which the page inverts on a dark screen; intervals are drawn everywhere.

Colours are those of Okabe and Ito, which the colour-blind can tell apart; lines differ in their strokes too.
"""

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from nbcad.evaluation.bootstrap import Figure
from nbcad.evaluation.types import (
    CalibrationFigures,
    Confusion,
    Distances,
    Froc,
    LesionFigures,
    Metrics,
    Overlaps,
    RankedMeasures,
)

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType


matplotlib.use("Agg")
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_STROKES = ("-", "--", ":", "-.")
_STYLE: "dict[RcKeyType, object]" = {
    "axes.grid": True, "grid.alpha": 0.25, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "font.size": 10, "svg.hashsalt": "nbcad", "legend.frameon": False,
}  # fmt: skip
_INCHES = (4.0, 3.7)
_MOST_FALSE = 4.0  # false lesions a patient, at the right end of the free-response ROC


def draw(metrics: Metrics) -> dict[str, str]:
    """Return all plots of the figures.

    Returns:
        SVG documents by file name without suffix; a plot without anything to show is left out.
    """
    organ, tumour, stage = metrics.organ, metrics.tumour, metrics.stage
    mark = "synthetic data" if metrics.synthetic else ""
    plots: dict[str, Callable[[Axes], bool]] = {
        "froc": lambda axes: _froc(axes, tumour.froc, tumour.lesion, metrics.operating_point.threshold),
        "roc_tumour": lambda axes: _roc(axes, {"by slice": tumour.slice, "by patient": tumour.patient}),
        "roc_organ": lambda axes: _roc(axes, organ.one_against_rest),
        "confusion_organ": lambda axes: _confusion(axes, organ.confusion),
        "confusion_stage": lambda axes: _confusion(axes, stage.confusion),
        "calibration_organ": lambda axes: _calibration(axes, organ.calibration, "share with that region"),
        "calibration_tumour": lambda axes: _calibration(axes, tumour.slice.calibration, "share that shows a tumour"),
        "calibration_stage": lambda axes: _calibration(axes, stage.calibration, "share with that stage"),
        "iou": lambda axes: _histogram(
            axes, tumour.lesion.iou, np.linspace(0, 1, 11), "intersection over union", tumour.lesion
        ),
        "centre_distance": lambda axes: _histogram(
            axes, tumour.lesion.centre_distance_mm, None, "distance of the centres, mm", tumour.lesion
        ),
    }
    drawn = {name: _svg(plot, mark) for name, plot in plots.items()}
    return {name: svg for name, svg in drawn.items() if svg}


def _svg(plot: Callable[[Axes], bool], mark: str) -> str | None:
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(figsize=_INCHES, layout="constrained")
        shown = plot(axes)
        if mark:
            figure.supxlabel(mark, fontsize=8, x=0.99, ha="right", color="#555")
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return text.getvalue() if shown else None


def _froc(axes: Axes, froc: Froc, lesion: LesionFigures, threshold: float) -> bool:
    band = froc.band
    if band is None:
        return False
    x = band.false_per_patient
    axes.fill_between(x, band.low, band.high, color=_COLOURS[0], alpha=0.2, lw=0, label="95 % interval")
    axes.plot(x, band.sensitivity, color=_COLOURS[0], drawstyle="steps-post", label="most that any threshold finds")
    points = [(p.false_per_patient, p.sensitivity) for p in froc.points]
    axes.plot(*zip(*points, strict=True), ".", color=_COLOURS[0], ms=4, alpha=0.6, label="each threshold")
    _mark(axes, lesion.false_per_patient, lesion.sensitivity, f"operating point ({threshold:.2f})")
    axes.set(xlabel="false lesions a patient", ylabel="sensitivity by lesion", ylim=(0, 1.02))
    axes.set_xlim(-0.02 * _MOST_FALSE, min(_MOST_FALSE, x[-1]))
    axes.legend(loc="lower right", fontsize=8)
    return True


def _roc(axes: Axes, curves: Mapping[str, RankedMeasures]) -> bool:
    shown = 0
    for name, row in curves.items():
        curve, colour, stroke = row.roc, _COLOURS[shown % len(_COLOURS)], _STROKES[shown % len(_STROKES)]
        if curve.false_positive_rate is None or curve.sensitivity is None:
            continue
        if band := curve.band:
            axes.fill_between(band.false_positive_rate, band.low, band.high, color=colour, alpha=0.15, lw=0)
        label = f"{name}: AUC {_text(curve.auc)}"
        axes.plot(curve.false_positive_rate, curve.sensitivity, color=colour, ls=stroke, label=label)
        _mark(axes, row.false_positive_rate, row.sensitivity, None if shown else "as answered", colour)
        shown += 1
    axes.plot([0, 1], [0, 1], color="grey", lw=0.8)
    axes.set(xlabel="false-positive rate", ylabel="sensitivity", xlim=(-0.02, 1), ylim=(0, 1.02))
    if shown:
        axes.legend(loc="lower right", fontsize=8)
    return bool(shown)


def _mark(axes: Axes, x: Figure, y: Figure, label: str | None, colour: str = "black") -> None:
    """Mark one figure against another, with both intervals."""
    if x.value is None or y.value is None:
        return
    axes.errorbar(
        x.value,
        y.value,
        xerr=_bar(x.value, x.interval),
        yerr=_bar(y.value, y.interval),
        fmt="D",
        color=colour,
        mec="black",
        ms=6,
        lw=1.2,
        capsize=3,
        zorder=5,
        label=label,
        clip_on=False,
    )


def _bar(value: float, interval: tuple[float, float] | None) -> list[list[float]] | None:
    """Return the lengths of an error bar below and above a value."""
    return None if interval is None else [[value - interval[0]], [interval[1] - value]]


def _confusion(axes: Axes, confusion: Confusion) -> bool:
    counts = np.array(confusion.counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count}\n{shares[row, column]:.0%}" if counts[row].sum() else "none"
        colour = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(confusion.columns)), confusion.columns, rotation=30, ha="right")
    axes.set_yticks(range(len(confusion.rows)), confusion.rows)
    axes.set(xlabel="answer", ylabel="truth")
    axes.grid(visible=False)
    return bool(counts.sum())


def _calibration(axes: Axes, calibration: CalibrationFigures, ylabel: str) -> bool:
    axes.plot([0, 1], [0, 1], color="grey", lw=0.8)
    shown = False
    for one in calibration.bins:
        mean, share = one.mean_probability, one.share
        if mean is None or share.value is None:
            continue
        shown = True
        if share.interval:
            axes.plot([mean] * 2, share.interval, color=_COLOURS[0], lw=1.5)
        axes.plot(mean, share.value, "o", color=_COLOURS[0], ms=5)
        offset = (5, 4 if share.value < 0.5 else -10)
        axes.annotate(str(share.n), (mean, share.value), offset, textcoords="offset points", fontsize=7)
    axes.set(xlabel="probability given (mean of its tenth)", ylabel=ylabel, xlim=(-0.02, 1.05), ylim=(-0.02, 1.05))
    return shown


def _histogram(
    axes: Axes, found: Overlaps | Distances, edges: np.ndarray | None, xlabel: str, lesion: LesionFigures
) -> bool:
    values, middle = np.array(found.of_found), found.median_of_found
    if middle.value is None:
        return False
    if edges is None:
        edges = np.linspace(0, max(5 * np.ceil(values.max() / 5), 5), 11)
    heights, *_ = axes.hist(values, edges.tolist(), color=_COLOURS[0], alpha=0.75, edgecolor="white")
    highest = np.max(heights)
    top = 1.15 * highest
    axes.axvline(middle.value, color=_COLOURS[1], ls="--")
    axes.plot(
        middle.interval or [middle.value] * 2,
        [top, top],
        "|-",
        color=_COLOURS[1],
        lw=2,
        label=f"median {_text(middle)}",
    )
    title = f"{len(values)} of {lesion.true} lesions; {lesion.true - lesion.found} missed"
    axes.set(xlabel=xlabel, ylabel="found lesions", xlim=(edges[0], edges[-1]), ylim=(0, 1.35 * highest))
    axes.set_title(title, fontsize=9)
    axes.locator_params("y", integer=True)
    axes.legend(loc="upper right", fontsize=8)
    return True


def _text(figure: Figure) -> str:
    if figure.interval is None:
        return f"{figure.value:.2f}"
    low, high = figure.interval
    return f"{figure.value:.2f} [{low:.2f}, {high:.2f}]"
