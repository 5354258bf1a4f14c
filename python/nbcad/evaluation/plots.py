"""The figures as pictures: SVG on white, which the page inverts on a dark screen; intervals are drawn everywhere.

Colours are those of Okabe and Ito, which the colour-blind can tell apart; lines differ in their strokes too.
"""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

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


def draw(figures: dict) -> dict[str, str]:
    """All plots of the figures of ``metrics.json``.

    Returns:
        SVG documents by file name without suffix; a plot without anything to show is left out.
    """
    organ, tumour, stage = figures["organ"], figures["tumour"], figures["stage"]
    mark = "synthetic data" if figures["synthetic"] else ""
    plots: dict[str, Callable[[Axes], bool]] = {
        "froc": lambda axes: _froc(axes, tumour["froc"], tumour["lesion"], figures["operating_point"]["threshold"]),
        "roc_tumour": lambda axes: _roc(axes, {f"by {level}": tumour[level] for level in ("slice", "patient")}),
        "roc_organ": lambda axes: _roc(axes, organ["one_against_rest"]),
        "confusion_organ": lambda axes: _confusion(axes, organ["confusion"]),
        "confusion_stage": lambda axes: _confusion(axes, stage["confusion"]),
        "calibration_organ": lambda axes: _calibration(axes, organ["calibration"], "share with that region"),
        "calibration_tumour": lambda axes: _calibration(
            axes, tumour["slice"]["calibration"], "share that shows a tumour"
        ),
        "calibration_stage": lambda axes: _calibration(axes, stage["calibration"], "share with that stage"),
        "iou": lambda axes: _histogram(
            axes, tumour["lesion"]["iou"], np.linspace(0, 1, 11), "intersection over union", figures
        ),
        "centre_distance": lambda axes: _histogram(
            axes, tumour["lesion"]["centre_distance_mm"], None, "distance of the centres, mm", figures
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


def _froc(axes: Axes, froc: dict, lesion: dict, threshold: float) -> bool:
    band = froc["band"]
    if band is None:
        return False
    x = band["false_per_patient"]
    axes.fill_between(x, band["low"], band["high"], color=_COLOURS[0], alpha=0.2, lw=0, label="95 % interval")
    axes.plot(x, band["sensitivity"], color=_COLOURS[0], drawstyle="steps-post", label="most that any threshold finds")
    points = [(p["false_per_patient"], p["sensitivity"]) for p in froc["points"]]
    axes.plot(*zip(*points, strict=True), ".", color=_COLOURS[0], ms=4, alpha=0.6, label="each threshold")
    _mark(axes, lesion["false_per_patient"], lesion["sensitivity"], f"operating point ({threshold:.2f})")
    axes.set(xlabel="false lesions a patient", ylabel="sensitivity by lesion", ylim=(0, 1.02))
    axes.set_xlim(-0.02 * _MOST_FALSE, min(_MOST_FALSE, x[-1]))
    axes.legend(loc="lower right", fontsize=8)
    return True


def _roc(axes: Axes, curves: dict[str, dict]) -> bool:
    shown = {name: row for name, row in curves.items() if "sensitivity" in row["roc"]}
    for n, (name, row) in enumerate(shown.items()):
        curve, colour = row["roc"], _COLOURS[n % len(_COLOURS)]
        if "band" in curve:
            band = curve["band"]
            axes.fill_between(band["false_positive_rate"], band["low"], band["high"], color=colour, alpha=0.15, lw=0)
        label = f"{name}: AUC {_text(curve['auc'])}"
        axes.plot(
            curve["false_positive_rate"],
            curve["sensitivity"],
            color=colour,
            ls=_STROKES[n % len(_STROKES)],
            label=label,
        )
        _mark(axes, row["false_positive_rate"], row["sensitivity"], "as answered" if n == 0 else None, colour)
    axes.plot([0, 1], [0, 1], color="grey", lw=0.8)
    axes.set(xlabel="false-positive rate", ylabel="sensitivity", xlim=(-0.02, 1), ylim=(0, 1.02))
    if shown:
        axes.legend(loc="lower right", fontsize=8)
    return bool(shown)


def _mark(axes: Axes, x: dict, y: dict, label: str | None, colour: str = "black") -> None:
    """A figure against another, with both intervals."""
    if x["value"] is None or y["value"] is None:
        return
    bars = [None if f["low"] is None else [[f["value"] - f["low"]], [f["high"] - f["value"]]] for f in (x, y)]
    axes.errorbar(
        x["value"], y["value"], xerr=bars[0], yerr=bars[1], fmt="D", color=colour, mec="black", ms=6, lw=1.2, capsize=3,
        zorder=5, label=label, clip_on=False,
    )  # fmt: skip


def _confusion(axes: Axes, confusion: dict) -> bool:
    counts = np.array(confusion["counts"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        text = f"{count}\n{shares[row, column]:.0%}" if counts[row].sum() else "none"
        colour = "white" if shares[row, column] > 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(confusion["columns"])), confusion["columns"], rotation=30, ha="right")
    axes.set_yticks(range(len(confusion["rows"])), confusion["rows"])
    axes.set(xlabel="answer", ylabel="truth")
    axes.grid(visible=False)
    return bool(counts.sum())


def _calibration(axes: Axes, calibration: dict, ylabel: str) -> bool:
    bins = [b for b in calibration["bins"] if b["share"]["value"] is not None]
    axes.plot([0, 1], [0, 1], color="grey", lw=0.8)
    for b in bins:
        share = b["share"]
        if share["low"] is not None:
            axes.plot([b["mean_probability"]] * 2, [share["low"], share["high"]], color=_COLOURS[0], lw=1.5)
        axes.plot(b["mean_probability"], share["value"], "o", color=_COLOURS[0], ms=5)
        place, offset = (b["mean_probability"], share["value"]), (5, 4 if share["value"] < 0.5 else -10)
        axes.annotate(str(share["n"]), place, offset, textcoords="offset points", fontsize=7)
    axes.set(xlabel="probability given (mean of its tenth)", ylabel=ylabel, xlim=(-0.02, 1.05), ylim=(-0.02, 1.05))
    return bool(bins)


def _histogram(axes: Axes, found: dict, edges: np.ndarray | None, xlabel: str, figures: dict) -> bool:
    values, middle = np.array(found["of_found"]), found["median_of_found"]
    if not len(values):
        return False
    if edges is None:
        edges = np.linspace(0, max(5 * np.ceil(values.max() / 5), 5), 11)
    heights, *_ = axes.hist(values, edges.tolist(), color=_COLOURS[0], alpha=0.75, edgecolor="white")
    highest = np.max(heights)
    top = 1.15 * highest
    axes.axvline(middle["value"], color=_COLOURS[1], ls="--")
    ends = [middle["value"] if middle[end] is None else middle[end] for end in ("low", "high")]
    axes.plot(ends, [top, top], "|-", color=_COLOURS[1], lw=2, label=f"median {_text(middle)}")
    lesion = figures["tumour"]["lesion"]
    title = f"{len(values)} of {lesion['true']} lesions; {lesion['true'] - lesion['found']} missed"
    axes.set(xlabel=xlabel, ylabel="found lesions", xlim=(edges[0], edges[-1]), ylim=(0, 1.35 * highest))
    axes.set_title(title, fontsize=9)
    axes.locator_params("y", integer=True)
    axes.legend(loc="upper right", fontsize=8)
    return True


def _text(figure: dict) -> str:
    if figure["low"] is None:
        return f"{figure['value']:.2f}"
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"
