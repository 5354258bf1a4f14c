"""Arithmetic on boxes: one edge rule for every question of where a place lies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcad.imaging.boxes import area, holds, holds_centre, holds_pixel, overlap, shared_area, whole_pixels

PIXELS = st.integers(-3, 12)


@st.composite
def boxes(draw):
    """A box of whole pixels that is not empty."""
    row0, col0 = draw(PIXELS), draw(PIXELS)
    return row0, col0, row0 + draw(st.integers(1, 9)), col0 + draw(st.integers(1, 9))


def pixels(box):
    row0, col0, row1, col1 = whole_pixels(box)
    return {(row, column) for row in range(row0, row1) for column in range(col0, col1)}


@given(boxes(), PIXELS, PIXELS)
def test_box_holds_the_pixels_it_covers_and_no_other(box, row, column):
    covered = (row, column) in pixels(box)
    assert holds(box, row + 0.5, column + 0.5) == covered
    assert holds_pixel({4: box}, (4, row, column)) == covered


@pytest.mark.parametrize(
    ("row", "column", "held"), [(2, 3, True), (5, 4, False), (3, 7, False), (4.999, 6.999, True), (1.999, 4, False)]
)
def test_box_holds_its_upper_and_left_edge_only(row, column, held):
    box = (2, 3, 5, 7)
    assert holds(box, row, column) is held
    assert holds_pixel({0: box}, (0, row - 0.5, column - 0.5)) is held
    assert holds_centre(box, (row - 1, column - 1, row + 1, column + 1)) is held


def test_lesion_holds_nothing_on_a_slice_without_a_box():
    assert not holds_pixel({1: (0, 0, 9, 9)}, (2, 4, 4))


@given(boxes(), boxes())
def test_areas_and_overlap_count_pixels(one, other):
    both = pixels(one) & pixels(other)
    assert (area(one), shared_area(one, other)) == (len(pixels(one)), len(both))
    assert overlap({0: one}, {0: other}) == pytest.approx(len(both) / len(pixels(one) | pixels(other)))
