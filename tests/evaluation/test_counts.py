import numpy as np
import pytest

from nbcad.evaluation.counts import FIVE, confusion, five_measures, lesion_measures, share
from nbcad.evaluation.matching import LesionCount, match_lesions
from nbcad.evaluation.types import Confusion
from nbcad.imaging.boxes import centre, overlap, volume
from nbcad.inference.lesions import Lesion


def test_the_five_measures_follow_their_definitions():
    truth, found = np.repeat([1, 1, 0, 0], [8, 2, 15, 5]), np.repeat([1, 0, 0, 1], [8, 2, 15, 5])
    m = five_measures(truth, found, np.arange(30) % 3)
    figures = [getattr(m, name) for name in FIVE]
    assert [f.value for f in figures] == pytest.approx([0.8, 0.75, 23 / 30, 0.2, 0.25])
    assert [f.n for f in figures] == [10, 20, 30, 10, 20]
    assert (m.tp, m.fn, m.tn, m.fp) == (8, 2, 15, 5)
    assert all(f.low < f.value < f.high for f in figures)


def test_a_measure_without_cases_is_null_with_the_reason():
    m = five_measures([True, True], [True, True], [0, 1])
    assert m.specificity.value is None and m.specificity.reason == "no negative case"
    assert m.false_positive_rate.value is None and m.sensitivity.value == 1


def test_measures_by_lesion_count_misses_but_no_healthy_places():
    m = lesion_measures(np.array([3, 2, 0]), np.array([3, 0, 0]), np.array([0, 1, 3]), np.ones(3))
    assert (m.sensitivity.value, m.sensitivity.n, m.sensitivity.patients) == (0.6, 5, 2)
    assert m.miss_rate.value == pytest.approx(0.4)
    assert m.false_per_patient.value == pytest.approx(4 / 3) and m.false_per_patient.patients == 3
    for figure in (m.specificity, m.accuracy, m.false_positive_rate):
        assert figure.value is None and "healthy places" in figure.reason
    assert (m.true, m.found, m.false) == (5, 3, 4)


def test_shares_and_confusion_count_other_as_an_answer():
    assert share([True, False, True, True], [0, 0, 1, 1], "").value == 0.75
    assert share([], [], "no slice").reason == "no slice"
    counted = confusion(
        ["thorax", "adrenal", "thorax"], ["other", "adrenal", "thorax"], ["thorax"], ["thorax", "other"]
    )
    assert counted == Confusion(rows=("thorax",), columns=("thorax", "other"), counts=((1, 1),))


TRUE = {3: (10, 10, 20, 20), 4: (10, 10, 22, 22)}  # centre of the middle slice: slice 4, row and column 15.5


def _found(centre, boxes=None) -> Lesion:
    return Lesion(boxes or {}, 0.9, np.array([1.0]), centre)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([_found((3.4, 15, 15))], (1, 1, 0)),
        ([_found((3.4, 15, 15)), _found((4, 20, 20))], (1, 1, 0)),  # found twice counts once
        ([_found((3.0, 20, 15))], (1, 0, 1)),  # just outside: row 20 is past the end
        ([_found((5.0, 15, 15))], (1, 0, 1)),  # right place, wrong slice
        ([_found((9.0, 30, 30), {4: (12, 12, 60, 60)})], (1, 1, 0)),  # holds the true centre
        ([_found((9.0, 30, 30), {3: (12, 12, 60, 60)})], (1, 0, 1)),  # on another slice than the true centre
        ([], (1, 0, 0)),  # a missed lesion always counts
    ],
)
def test_lesions_meet_if_the_centre_of_either_lies_in_a_box_of_the_other(found, expected):
    assert match_lesions([TRUE], found) == LesionCount(*expected)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([_found((4, 20, 15), {4: (0, 0, 60, 60)})], (2, 1, 0)),  # both found as one: one is missed
        ([_found((4, 20, 15), {4: (0, 0, 60, 60)}), _found((4, 15, 15))], (2, 2, 0)),
        ([_found((4, 15, 15)), _found((4, 16, 16))], (2, 1, 0)),  # one found twice, the other missed
    ],
)
def test_a_found_lesion_stands_for_one_true_lesion_at_most(found, expected):
    neighbour = {4: (24, 10, 36, 22)}
    assert match_lesions([TRUE, neighbour], found) == LesionCount(*expected)


def test_lesion_counts_add_up():
    assert LesionCount(3, 2, 1) + LesionCount(1, 1, 4) == LesionCount(4, 3, 5)


def test_overlap_is_shared_volume_over_joint_volume_slice_by_slice():
    # slice 3: 100 and 50 pixels share 50; slice 4: 144 alone; slice 5: 10 alone
    assert overlap(TRUE, {3: (10, 10, 15, 20), 5: (0, 0, 2, 5)}) == 50 / (100 + 144 + 10)
    assert overlap(TRUE, TRUE) == 1
    assert overlap(TRUE, {3: (20, 10, 30, 20)}) == overlap(TRUE, {9: (10, 10, 20, 20)}) == 0


def test_centre_is_that_of_the_volume_in_pixel_centres():
    assert centre({3: (10, 10, 20, 20)}) == (3, 14.5, 14.5)
    assert centre({2: (0, 0, 2, 2), 3: (0, 0, 2, 6)}) == pytest.approx((2.75, 0.5, 0.25 * 0.5 + 0.75 * 2.5))
    assert volume(TRUE) == 244
