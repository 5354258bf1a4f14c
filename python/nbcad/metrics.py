"""The paper's measures (3.2) and what they are counted on.

sensitivity = TP / (TP + FN), specificity = TN / (TN + FP), accuracy = (TP + TN) / all, miss rate = 1 - sensitivity,
false-positive rate = 1 - specificity.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from nbcad.localise import Lesion
from nbcad.preprocess import Box

DEFINITIONS = (
    "sensitivity = TP/(TP+FN), specificity = TN/(TN+FP), accuracy = (TP+TN)/all, "
    "miss rate = 1 - sensitivity, false-positive rate = 1 - specificity"
)


@dataclass(frozen=True)
class Measures:
    """Counts of a yes-or-no decision; the paper's five measures follow from them, NaN where nothing was counted."""

    tp: int
    fn: int
    tn: int
    fp: int

    @classmethod
    def of(cls, truth: np.ndarray, found: np.ndarray) -> "Measures":
        """Count boolean arrays of one shape."""
        truth, found = np.asarray(truth, bool), np.asarray(found, bool)
        return cls(
            tp=int((truth & found).sum()),
            fn=int((truth & ~found).sum()),
            tn=int((~truth & ~found).sum()),
            fp=int((~truth & found).sum()),
        )

    @property
    def sensitivity(self) -> float:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def accuracy(self) -> float:
        return _ratio(self.tp + self.tn, self.tp + self.tn + self.fn + self.fp)

    @property
    def miss_rate(self) -> float:
        return 1 - self.sensitivity

    @property
    def false_positive_rate(self) -> float:
        return 1 - self.specificity

    def as_dict(self) -> dict[str, float | int | None]:
        """The five measures and the four counts, None for NaN."""
        names = ("sensitivity", "specificity", "accuracy", "miss_rate", "false_positive_rate")
        values = {name: getattr(self, name) for name in names}
        return {k: None if np.isnan(v) else v for k, v in values.items()} | {
            "tp": self.tp, "fn": self.fn, "tn": self.tn, "fp": self.fp,
        }  # fmt: skip


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def one_against_rest(truth: list[str], found: list[str], labels: list[str]) -> dict[str, Measures]:
    """Measures of each label against all others; ``found`` may hold further answers, such as ``other``."""
    truths, answers = np.array(truth), np.array(found)
    return {label: Measures.of(truths == label, answers == label) for label in labels}


def confusion(truth: list[str], found: list[str], rows: list[str], columns: list[str]) -> list[list[int]]:
    """Counts, true label by row, answer by column."""
    pairs = list(zip(truth, found, strict=True))
    return [[pairs.count((row, column)) for column in columns] for row in rows]


def accuracy(truth: list[str], found: list[str]) -> float:
    """Share of equal answers, NaN for none."""
    return _ratio(sum(t == f for t, f in zip(truth, found, strict=True)), len(truth))


@dataclass
class LesionCount:
    """How found lesions meet the true ones in one or more patients."""

    true: int = 0
    hit: int = 0
    false: int = 0

    @property
    def sensitivity(self) -> float:
        """Share of the true lesions that were found; a missed lesion always counts."""
        return _ratio(self.hit, self.true)

    def __add__(self, other: "LesionCount") -> "LesionCount":
        return LesionCount(self.true + other.true, self.hit + other.hit, self.false + other.false)


def match_lesions(true: list[dict[int, Box]], found: list[Lesion]) -> LesionCount:
    """Compare found lesions with the true ones of one series.

    The two can be one if the centre of either lies within a box of the other on that slice. A found lesion stands for
    one true lesion at most: of two neighbours that were found as one, one is missed.

    Args:
        true: each a box by slice index.
        found: result of `localise.find_lesions`.

    Returns:
        Counts; several found lesions in one true lesion are one hit, a found one that meets no true one is false.
    """
    met = meets(true, found)
    pairs = linear_sum_assignment(met, maximize=True)
    return LesionCount(len(true), int(met[pairs].sum()), int((~met.any(axis=0)).sum()))


def meets(true: list[dict[int, Box]], found: list[Lesion]) -> np.ndarray:
    """Which found lesions could be which true ones, as of `match_lesions`: boolean, shape (true, found)."""
    met = np.zeros((len(true), len(found)), bool)
    for row, boxes in enumerate(true):
        centre = _centre(boxes)
        for column, lesion in enumerate(found):
            met[row, column] = _within(lesion.centre, boxes) or _within(centre, lesion.boxes)
    return met


def _centre(boxes: dict[int, Box]) -> tuple[float, float, float]:
    """Centre of the box on the lesion's middle slice: slice index, row, column."""
    middle = sorted(boxes)[len(boxes) // 2]
    row0, col0, row1, col1 = boxes[middle]
    return middle, (row0 + row1 - 1) / 2, (col0 + col1 - 1) / 2


def _within(centre: tuple[float, float, float], boxes: dict[int, Box]) -> bool:
    index, row, column = centre
    box = boxes.get(round(index))
    return box is not None and box[0] - 0.5 <= row < box[2] - 0.5 and box[1] - 0.5 <= column < box[3] - 0.5
