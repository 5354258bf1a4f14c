"""Results of the runs: means over the seeds with intervals, paired differences, and curves of the training loss."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from scipy import stats

from nbcad.experiments.ablation import DATASETS, DIGITS, MNIST, PHANTOM
from nbcad.experiments.ablation.runs import Row, run_folder
from nbcad.experiments.ablation.variants import (
    ACTIVATION,
    DECAY,
    FC7,
    FEATURES,
    PAPER,
    QUESTIONS,
    SCHEDULE,
    SIGN,
    START,
    VARIANTS,
)
from nbcad.runtime.files import replacing_file

matplotlib.use("Agg")
LEVEL = 0.95
NAMES = {MNIST: "MNIST (real)", DIGITS: "digits (real)", PHANTOM: "phantom (synthetic)"}
PLOTS = {"start.png": (ACTIVATION, START), "schedule.png": (SCHEDULE,), "decay.png": (DECAY, SIGN)}
_MEASURES = {
    "train_loss": "training loss",
    "growth": "weights, after / before",
    "softmax": "softmax",
    "svm_fc7": "SVM on fc7",
    "svm_fc7_untrained": "the same, untrained",
}
Runs = dict[tuple[str, str], dict[int, Row]]  # by variant and data set, and in each by seed
_DIFFERENCES = ("softmax", "svm_fc7")
_GUESSING_COLOUR: Final = "grey"
_GUESSING_STROKE: Final = ":"
_SVM_INPUTS = dict(
    zip(FEATURES, ("fc7", "fc7 of the net untrained", "pool3", "pool3 of the net untrained", "raw pixels"), strict=True)
)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of values and half the width of its 95 % interval by Student's t.

    The half width is NaN for fewer than two values.
    """
    if len(values) < 2:
        return float(np.mean(values)), float("nan")
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * stats.sem(values)
    return float(np.mean(values)), float(half)


def render(rows: Iterable[Row]) -> str:
    """Return all tables as Markdown: one for each question, and one for the inputs of the SVM."""
    runs = _by_run(rows)
    parts = [part for question in QUESTIONS if (part := _question(question, runs))]
    return "\n".join([*parts, _svm(runs)])


def _by_run(rows: Iterable[Row]) -> Runs:
    """Return the rows by variant and data set, and in each by seed."""
    runs: Runs = defaultdict(dict)
    for row in rows:
        runs[row.variant, row.dataset][row.seed] = row
    return runs


def _question(question: str, runs: Runs) -> str | None:
    """Return the table of a question, each variant under the one it is compared with; None if nothing was run."""
    lines = []
    for dataset in DATASETS:
        shown: list[str] = []
        for variant in VARIANTS:
            if variant.question == question and variant.against and runs.get((variant.name, dataset)):
                if variant.against not in shown:
                    lines.append(_line(dataset, variant.against, runs))
                lines.append(_line(dataset, variant.name, runs, variant.against))
                shown += [variant.against, variant.name]
    if not lines:
        return None
    heads = ["data", "variant", "seeds", *_MEASURES.values(), *(f"{_MEASURES[m]}: difference" for m in _DIFFERENCES)]
    return _markdown(question, heads, lines)


def _line(dataset: str, variant: str, runs: Runs, against: str | None = None) -> list[str]:
    """Return the cells of a variant on a data set, with its differences from another one."""
    rows = runs[variant, dataset]
    others = runs[against, dataset] if against else {}
    both = sorted(rows.keys() & others.keys())
    measured = [_cell([getattr(row, measure) for row in rows.values()]) for measure in _MEASURES]
    differences = [
        _cell([_minus(getattr(rows[seed], measure), getattr(others[seed], measure)) for seed in both], "+")
        for measure in _DIFFERENCES
    ]
    return [NAMES[dataset], variant, str(len(rows)), *measured, *differences]


def _minus(value: float | None, other: float | None) -> float | None:
    """Return the difference of two values, or None if one is missing."""
    return None if value is None or other is None else value - other


def _svm(runs: Runs) -> str:
    """Return the table of the inputs of the SVM, of the paper's net and solver."""
    lines = []
    for dataset in DATASETS:
        rows = runs.get((PAPER.name, dataset), {}).values()
        for name, words in _SVM_INPUTS.items() if rows else ():
            values = [getattr(row, f"svm_{name}") for row in rows]
            differences = [_minus(value, row.svm_fc7) for value, row in zip(values, rows, strict=True)]
            cells = [_cell(values), "" if name == FC7 else _cell(differences, sign="+")]
            lines.append([NAMES[dataset], words, str(len(rows)), *cells])
    heads = ["data", "fitted on", "seeds", "accuracy", "difference to fc7 of the trained net"]
    return _markdown("what the SVM is fitted on", heads, lines)


def _cell(values: Sequence[float | None], sign: str = "") -> str:
    """Return mean and interval as text, or nothing if a value is missing."""
    measured = [value for value in values if value is not None]
    if not values or len(measured) < len(values):
        return ""
    mean, half = interval(measured)
    return f"{mean:{sign}.3f} ± {half:.3f}"


def _markdown(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table under a heading, without its empty columns."""
    kept = [i for i in range(len(heads)) if any(line[i] for line in lines)]
    table = ["| " + " | ".join(line[i] for i in kept) + " |" for line in (heads, ["---"] * len(heads), *lines)]
    return "\n".join([f"### {title[0].upper()}{title[1:]}", "", *table, ""])


def plot_curves(out: Path, rows: Iterable[Row]) -> None:
    """Draw `PLOTS` into ``out``, where the logs of the runs lie: the training loss over the iterations.

    A line is the mean over the seeds, and the band around it reaches from the lowest to the highest.
    """
    runs = _by_run(rows)
    for name, questions in PLOTS.items():
        variants = [variant for variant in VARIANTS if variant.question in questions]
        tasks = sorted({variant.task for variant in variants})
        figure, grid = plt.subplots(
            len(tasks), len(DATASETS), figsize=(12, 3.4 * len(tasks)), squeeze=False, layout="constrained"
        )
        for task, panels in zip(tasks, grid, strict=True):
            pairs = [(variant.against, variant.name) for variant in variants if variant.task == task]
            names = list(dict.fromkeys(name for pair in pairs for name in pair if name))
            for dataset, axes in zip(DATASETS, panels, strict=True):
                _plot_losses(axes, out, dataset, {name: runs.get((name, dataset), {}) for name in names})
                axes.set(title=f"{task} net, {NAMES[dataset]}", xlabel="iteration", ylim=(0, None))
                axes.set_visible(bool(axes.lines))
            first = next((axes for axes in panels if axes.lines), panels[0])
            first.set(ylabel="training loss")
            lines = [Line2D([], [], color=f"C{index}", label=name) for index, name in enumerate(names)]
            guessing = Line2D([], [], color=_GUESSING_COLOUR, linestyle=_GUESSING_STROKE, label="guessing")
            first.legend(handles=[*lines, guessing], fontsize="small")
        with replacing_file(out / name) as temporary:
            figure.savefig(temporary, dpi=80, format="png")
        plt.close(figure)


def _plot_losses(axes: Axes, out: Path, dataset: str, runs: dict[str, dict[int, Row]]) -> None:
    """Draw the losses of variants on one data set, and the loss of guessing by the shares of the classes."""
    for index, (variant, by_seed) in enumerate(runs.items()):
        curves = [_read_losses(run_folder(out, variant, dataset, seed)) for seed in by_seed]
        if curves:
            iterations, losses = curves[0][0], np.array([loss for _, loss in curves])
            axes.plot(iterations, losses.mean(axis=0), color=f"C{index}")
            axes.fill_between(iterations, losses.min(axis=0), losses.max(axis=0), color=f"C{index}", alpha=0.2)
    guessing = [row.guessing_loss for by_seed in runs.values() for row in by_seed.values()]
    if guessing:
        axes.axhline(float(np.mean(guessing)), color=_GUESSING_COLOUR, linestyle=_GUESSING_STROKE)
    axes.grid(alpha=0.3)


def _read_losses(folder: Path) -> tuple[list[int], list[float]]:
    """Read iterations and training losses from the log of a run."""
    with (folder / "run" / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [int(row["iteration"]) for row in rows], [float(row["train_loss"]) for row in rows]
