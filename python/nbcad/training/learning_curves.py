"""The log of a training, line by line, and the learning curves drawn from it."""

import csv
from dataclasses import dataclass, fields
from pathlib import Path

import matplotlib
from matplotlib import pyplot as plt

from nbcad.runtime.files import replacing_file

matplotlib.use("Agg")


@dataclass(frozen=True)
class LogRow:
    """A line of ``log.csv``."""

    iteration: int
    learning_rate: float
    train_loss: float  # mean since the line before
    test_loss: float | None  # None: not tested there, or the net has no such output
    test_accuracy: float | None
    seconds: float  # of training up to there

    @classmethod
    def of(cls, cells: dict[str, str]) -> "LogRow":
        """Return a line of the file as a row."""
        loss, accuracy = (float(cells[name]) if cells[name] else None for name in ("test_loss", "test_accuracy"))
        return cls(
            iteration=int(cells["iteration"]),
            learning_rate=float(cells["learning_rate"]),
            train_loss=float(cells["train_loss"]),
            test_loss=loss,
            test_accuracy=accuracy,
            seconds=float(cells["seconds"]),
        )


LOG_HEADER = [field.name for field in fields(LogRow)]


def read_log(path: Path, until: int) -> list[LogRow]:
    """Return the lines of a log up to an iteration."""
    with path.open(newline="") as file:
        return [LogRow.of(cells) for cells in csv.DictReader(file) if int(cells["iteration"]) <= until]


def plot_curves(log: list[LogRow], path: Path, title: str) -> None:
    """Plot loss, accuracy and learning rate over the iterations, as a PNG."""
    with plt.rc_context({"axes.grid": True, "grid.alpha": 0.3}):
        figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=(8, 8), sharex=True, layout="constrained")
    for name, axes, label in (
        ("train_loss", top, "training"),
        ("test_loss", top, "validation"),
        ("test_accuracy", middle, "validation"),
        ("learning_rate", bottom, ""),
    ):
        points = [(row.iteration, getattr(row, name)) for row in log if getattr(row, name) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="." if name.startswith("test") else "")
    top.set(ylabel="loss", title=title, ylim=(0, None))
    middle.set(ylabel="accuracy", ylim=(0, 1))
    bottom.set(ylabel="learning rate", xlabel="iteration", yscale="log")
    if log:
        top.legend()
    with replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)
