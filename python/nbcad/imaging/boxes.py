"""Boxes of lesions on slices, and the only arithmetic on them.

A box is measured from the outer corner of the stored image's first pixel, so that pixel n covers n to n + 1 and its
centre lies at n + 0.5. One edge rule holds everywhere: the upper and left edges belong to the box, the lower and right
ones do not.
"""

import numpy as np
from scipy.sparse.csgraph import connected_components

SAME_LESION = 0.5  # share of the smaller of two boxes on neighbouring slices that lies in the other

Box = tuple[float, float, float, float]  # row0, col0, row1, col1; zero-based, end exclusive
Boxes = dict[int, Box]  # of one lesion, by slice index


def area(box: Box) -> float:
    """Return the area of a box in pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])


def shared_area(one: Box, other: Box) -> float:
    """Return the area that two boxes share, in pixels; 0 where they do not overlap."""
    rows, columns = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    return max(rows, 0) * max(columns, 0)


def holds(box: Box, row: float, column: float) -> bool:
    """Return whether a box holds a place, given from the outer corner of the first pixel."""
    return box[0] <= row < box[2] and box[1] <= column < box[3]


def holds_pixel(boxes: Boxes, pixel: tuple[float, float, float]) -> bool:
    """Return whether a lesion's boxes hold a place, given as slice index, row and column of a pixel's centre."""
    index, row, column = pixel
    box = boxes.get(round(index))
    return box is not None and holds(box, row + 0.5, column + 0.5)


def holds_centre(outer: Box, inner: Box) -> bool:
    """Return whether one box holds the centre of another."""
    return holds(outer, (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2)


def grown(box: Box, mm: float, spacing: tuple[float, float]) -> Box:
    """Return a box grown by ``mm`` on each side; ``spacing`` is in mm, between rows and between columns."""
    rows, columns = mm / spacing[0], mm / spacing[1]
    return box[0] - rows, box[1] - columns, box[2] + rows, box[3] + columns


def whole_pixels(box: Box) -> tuple[int, int, int, int]:
    """Return the smallest box of whole pixels that holds a box."""
    row0, col0, row1, col1 = box
    return int(np.floor(row0)), int(np.floor(col0)), int(np.ceil(row1)), int(np.ceil(col1))


def hull(boxes: list[Box]) -> Box:
    """Return the smallest box that holds all of ``boxes``."""
    row0, col0, row1, col1 = zip(*boxes, strict=True)
    return min(row0), min(col0), max(row1), max(col1)


def volume(boxes: Boxes) -> float:
    """Return the sum of the areas of a lesion's boxes, in pixels."""
    return sum(area(box) for box in boxes.values())


def overlap(one: Boxes, other: Boxes) -> float:
    """Return the intersection over union of two lesions of one series, whose slices are equally thick.

    The value lies in 0..1; it is 0 for lesions that do not meet.
    """
    shared = sum(shared_area(one[index], other[index]) for index in one.keys() & other.keys())
    return shared / (volume(one) + volume(other) - shared)


def centre(boxes: Boxes) -> tuple[float, float, float]:
    """Return the centre of a lesion's volume: slice index, row and column of a pixel's centre, not rounded."""
    places = [(index, *_centre_pixel(box)) for index, box in boxes.items()]
    index, row, column = np.average(places, axis=0, weights=[area(box) for box in boxes.values()])
    return float(index), float(row), float(column)


def middle(boxes: Boxes) -> tuple[float, float, float]:
    """Return the centre of the box on a lesion's middle slice: slice index, row and column of a pixel's centre."""
    index = sorted(boxes)[len(boxes) // 2]
    return index, *_centre_pixel(boxes[index])


def _centre_pixel(box: Box) -> tuple[float, float]:
    """Return the centre of a box as row and column of a pixel's centre."""
    return (box[0] + box[2] - 1) / 2, (box[1] + box[3] - 1) / 2


def link(boxes: list[list[Box]]) -> list[list[tuple[int, int]]]:
    """Group annotated boxes that overlap from one slice to the next into lesions.

    Args:
        boxes: the boxes on each slice, in the order of the slices.

    Returns:
        Groups of (slice index, number of the box on that slice).
    """
    nodes = [(index, number) for index, on_slice in enumerate(boxes) for number in range(len(on_slice))]
    if not nodes:
        return []
    linked = np.zeros((len(nodes), len(nodes)), bool)
    for one, (index, number) in enumerate(nodes):
        for other, (other_index, other_number) in enumerate(nodes[:one]):
            if index - other_index == 1:
                pair = boxes[index][number], boxes[other_index][other_number]
                linked[one, other] = shared_area(*pair) / min(map(area, pair)) >= SAME_LESION
    count, group = connected_components(linked, directed=False)
    return [[node for node, its in zip(nodes, group, strict=True) if its == number] for number in range(count)]


def by_slice(group: list[tuple[int, int]], boxes: list[list[Box]]) -> Boxes:
    """Return one box a slice of a linked group: where it has several boxes on a slice, the hull of them."""
    indices = sorted({index for index, _ in group})
    return {i: hull([boxes[index][n] for index, n in group if index == i]) for i in indices}
