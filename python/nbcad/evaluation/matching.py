"""How found lesions meet the true ones."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from nbcad.imaging.boxes import Box, holds_pixel, middle, overlap
from nbcad.inference.lesions import Lesion


@dataclass
class LesionCount:
    """The counts of true, found and false lesions in one or more patients."""

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
        found: result of `lesions.find_lesions`.

    Returns:
        Counts; several found lesions in one true lesion are one hit, a found one that meets no true one is false.
    """
    meets = meetings(true, found)
    return LesionCount(len(true), len(paired(true, found, meets)), int((~meets.any(axis=0)).sum()))


def paired(true: list[dict[int, Box]], found: list[Lesion], meets: np.ndarray) -> dict[int, int]:
    """Pair true lesions with found ones: as many pairs as possible, then as much overlap as possible.

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
    """Return which found lesions match which true ones: the centre of either lies within a box of the other.

    Returns:
        bool, shape (true, found).
    """
    meets = np.zeros((len(true), len(found)), bool)
    for row, boxes in enumerate(true):
        centre = middle(boxes)
        for column, lesion in enumerate(found):
            meets[row, column] = holds_pixel(boxes, lesion.centre) or holds_pixel(lesion.boxes, centre)
    return meets
