"""Boxes of lesions on slices, in stored pixels: zero-based, end exclusive."""

import numpy as np
from scipy.sparse.csgraph import connected_components

SAME_LESION = 0.5  # share of the smaller of two boxes on neighbouring slices that lies in the other


Box = tuple[float, float, float, float]  # row0, col0, row1, col1; zero-based, end exclusive


def centre_in(inner: Box, outer: Box) -> bool:
    row, column = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    return outer[0] <= row <= outer[2] and outer[1] <= column <= outer[3]


def link(boxes: list[list[Box]]) -> list[list[tuple[int, int]]]:
    """Group annotated boxes into lesions: those that overlap from one slice to the next.

    Args:
        boxes: for each slice, in order, its boxes.

    Returns:
        Groups of (slice index, number of the box on that slice).
    """
    nodes = [(index, number) for index, on_slice in enumerate(boxes) for number in range(len(on_slice))]
    linked = np.zeros((len(nodes), len(nodes)), bool)
    for one, (index, number) in enumerate(nodes):
        for other, (other_index, other_number) in enumerate(nodes[:one]):
            if index - other_index == 1:
                linked[one, other] = _overlap(boxes[index][number], boxes[other_index][other_number]) >= SAME_LESION
    if not nodes:
        return []
    count, group = connected_components(linked, directed=False)
    return [[node for node, of in zip(nodes, group, strict=True) if of == number] for number in range(count)]


def _overlap(a: Box, b: Box) -> float:
    """Share of the smaller of two boxes that lies in the other, 0..1."""
    rows, columns = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(rows, 0) * max(columns, 0) / smaller


def _hull(boxes: list[Box]) -> Box:
    """The smallest box that holds all of ``boxes``."""
    row0, col0, row1, col1 = zip(*boxes, strict=True)
    return min(row0), min(col0), max(row1), max(col1)


def by_slice(group: list[tuple[int, int]], boxes: list[list[Box]]) -> dict[int, Box]:
    """One box a slice of a linked group; where it has several on one slice, what holds them all."""
    indices = sorted({index for index, _ in group})
    return {i: _hull([boxes[index][n] for index, n in group if index == i]) for i in indices}


def volume(boxes: dict[int, Box]) -> float:
    """Of a lesion's boxes by slice index, in pixels: the sum of their areas."""
    return sum((row1 - row0) * (col1 - col0) for row0, col0, row1, col1 in boxes.values())


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


def middle(boxes: dict[int, Box]) -> tuple[float, float, float]:
    """Centre of the box on the lesion's middle slice: slice index, row, column."""
    index = sorted(boxes)[len(boxes) // 2]
    row0, col0, row1, col1 = boxes[index]
    return index, (row0 + row1 - 1) / 2, (col0 + col1 - 1) / 2


def within(centre: tuple[float, float, float], boxes: dict[int, Box]) -> bool:
    index, row, column = centre
    box = boxes.get(round(index))
    return box is not None and box[0] - 0.5 <= row < box[2] - 0.5 and box[1] - 0.5 <= column < box[3] - 0.5


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared(one: Box, other: Box) -> float:
    rows, columns = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return max(rows, 0) * max(columns, 0)


def grown(box: Box, mm: float, spacing: tuple[float, float]) -> Box:
    """A box of a stored image with ``mm`` more on each side; ``spacing`` in mm a pixel."""
    rows, columns = mm / spacing[0], mm / spacing[1]
    return box[0] - rows, box[1] - columns, box[2] + rows, box[3] + columns


def holds(box: Box, row: float, column: float) -> bool:
    """Whether a place lies in a box."""
    return box[0] <= row < box[2] and box[1] <= column < box[3]
