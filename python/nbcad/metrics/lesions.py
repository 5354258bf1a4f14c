"""How found lesions meet the true ones."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from nbcad.localise import Lesion, volume
from nbcad.preprocess import Box


@dataclass
class LesionCount:
    """How found lesions meet the true ones in one or more patients."""

    true: int = 0
    hit: int = 0
    false: int = 0

    def __add__(self, other: "LesionCount") -> "LesionCount":
        return LesionCount(self.true + other.true, self.hit + other.hit, self.false + other.false)


def match_lesions(true: list[dict[int, Box]], found: list[Lesion]) -> LesionCount:
    """Count the true lesions of one series that were found, and the found ones that are false.

    A found lesion stands for one true lesion at most: of two neighbours that were found as one, one is missed.

    Args:
        true: each a box by slice index.
        found: result of `localise.find_lesions`.

    Returns:
        Counts; several found lesions in one true lesion are one hit, a found one that meets no true one is false.
    """
    meets = meetings(true, found)
    return LesionCount(len(true), len(paired(true, found, meets)), int((~meets.any(axis=0)).sum()))


def paired(true: list[dict[int, Box]], found: list[Lesion], meets: np.ndarray) -> dict[int, int]:
    """Number of the found lesion that stands for each true one: as many pairs as can be, then as much overlap.

    Args:
        true: each a box by slice index.
        found: of the same series.
        meets: of `meetings`.

    Returns:
        By number of the true lesion, the missed ones left out.
    """
    overlaps = [[overlap(boxes, lesion.boxes) for lesion in found] for boxes in true]
    gain = meets * (1 + np.reshape(overlaps, meets.shape) / (1 + len(true)))  # all overlaps weigh less than one pair
    rows, columns = linear_sum_assignment(gain, maximize=True)
    return {int(row): int(column) for row, column in zip(rows, columns, strict=True) if meets[row, column]}


def meetings(true: list[dict[int, Box]], found: list[Lesion]) -> np.ndarray:
    """Which found lesion can be which true one: the centre of either lies within a box of the other on that slice.

    Returns:
        bool, shape (true, found).
    """
    meets = np.zeros((len(true), len(found)), bool)
    for row, boxes in enumerate(true):
        centre = _middle(boxes)
        for column, lesion in enumerate(found):
            meets[row, column] = _within(lesion.centre, boxes) or _within(centre, lesion.boxes)
    return meets


def overlap(one: dict[int, Box], other: dict[int, Box]) -> float:
    """Intersection over union of two lesions of one series as volumes: boxes by slice, all slices equally thick.

    Returns:
        0..1; 0 where they share nothing.
    """
    shared = sum(_shared(one[index], other[index]) for index in one.keys() & other.keys())
    both = volume(one) + volume(other) - shared
    return shared / both


def centre(boxes: dict[int, Box]) -> tuple[float, float, float]:
    """Centre of a lesion's volume: slice index, row and column of a pixel's centre, not rounded."""
    places = [(index, (box[0] + box[2] - 1) / 2, (box[1] + box[3] - 1) / 2) for index, box in boxes.items()]
    index, row, column = np.average(places, axis=0, weights=[_area(box) for box in boxes.values()])
    return float(index), float(row), float(column)


def _middle(boxes: dict[int, Box]) -> tuple[float, float, float]:
    """Centre of the box on the lesion's middle slice: slice index, row, column."""
    middle = sorted(boxes)[len(boxes) // 2]
    row0, col0, row1, col1 = boxes[middle]
    return middle, (row0 + row1 - 1) / 2, (col0 + col1 - 1) / 2


def _within(centre: tuple[float, float, float], boxes: dict[int, Box]) -> bool:
    index, row, column = centre
    box = boxes.get(round(index))
    return box is not None and box[0] - 0.5 <= row < box[2] - 0.5 and box[1] - 0.5 <= column < box[3] - 0.5


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared(one: Box, other: Box) -> float:
    rows, columns = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return max(rows, 0) * max(columns, 0)
