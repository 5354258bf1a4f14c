"""Arithmetic on boxes: one edge rule for every question of where a place lies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcad.imaging.boxes import area, holds, holds_centre, holds_pixel, link, overlap, shared_area, whole_pixels

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


def test_boxes_link_only_where_they_overlap_on_neighbouring_slices():
    a, b = (0, 0, 10, 10), (50, 50, 60, 60)
    groups = link([[a, b], [(2, 2, 12, 12)], [], [(2, 2, 12, 12)]])
    assert sorted(sorted(g) for g in groups) == [[(0, 0), (1, 0)], [(0, 1)], [(3, 0)]]


def test_boxes_that_barely_touch_are_two_lesions():
    assert len(link([[(0, 0, 10, 10)], [(8, 8, 20, 20)]])) == 2


def test_two_boxes_within_one_on_the_next_slice_are_one_lesion():
    assert [sorted(g) for g in link([[(0, 0, 4, 4), (6, 6, 9, 9)], [(0, 0, 9, 9)]])] == [[(0, 0), (0, 1), (1, 0)]]


def test_no_boxes_are_no_lesions():
    assert link([[], []]) == []


@given(st.tuples(*[st.floats(0, 400)] * 4))
def test_whole_pixels_are_the_smallest_box_that_holds_the_box(box):
    row0, col0, row1, col1 = found = whole_pixels(box)
    assert all(type(edge) is int for edge in found)
    assert row0 <= box[0] < row0 + 1 and col0 <= box[1] < col0 + 1
    assert row1 - 1 < box[2] <= row1 and col1 - 1 < box[3] <= col1
