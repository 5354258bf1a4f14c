import math

import numpy as np
import pytest

from nbcad.localise import Lesion
from nbcad.metrics import LesionCount, Measures, confusion, match_lesions, one_against_rest


def test_the_five_measures_follow_their_definitions():
    m = Measures(tp=8, fn=2, tn=15, fp=5)
    assert m.as_dict() == pytest.approx(
        {
            "sensitivity": 0.8, "specificity": 0.75, "accuracy": 23 / 30, "miss_rate": 0.2,
            "false_positive_rate": 0.25, "tp": 8, "fn": 2, "tn": 15, "fp": 5,
        }
    )  # fmt: skip


def test_a_measure_without_cases_is_no_number():
    m = Measures.of([True], [True])
    assert math.isnan(m.specificity) and m.as_dict()["specificity"] is None and m.sensitivity == 1


def test_other_counts_as_wrong_for_every_region():
    m = one_against_rest(["thorax", "adrenal"], ["other", "adrenal"], ["thorax", "adrenal"])
    assert (m["thorax"].fn, m["adrenal"].tp, m["adrenal"].fp) == (1, 1, 0)
    assert confusion(["thorax"], ["other"], ["thorax"], ["thorax", "other"]) == [[0, 1]]


TRUE = {3: (10, 10, 20, 20), 4: (10, 10, 22, 22)}  # centre: slice 4, row and column 15.5


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
    assert LesionCount(4, 3, 5).sensitivity == 0.75
