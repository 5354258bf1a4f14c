"""Figures and their intervals: by hand where it can be done, by brute force where not."""

import numpy as np
import pytest

from nbcad.evaluation import bootstrap
from nbcad.evaluation.bootstrap import Figure, median, ratio, undefined


def test_ratio_is_that_of_the_sums_and_not_a_mean_over_patients():
    figure = ratio([1, 9], [1, 10], "none")
    assert (figure.value, figure.n, figure.patients) == (10 / 11, 11, 2)


def test_an_interval_is_that_of_patients_drawn_with_replacement():
    part, whole = np.array([1, 0, 5, 3, 2]), np.array([4, 4, 5, 6, 2])
    figure = ratio(part, whole, "none")
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, 5, 5) for _ in range(20_000)]
    low, high = np.percentile([part[d].sum() / whole[d].sum() for d in drawn], [2.5, 97.5])
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=0.02)


def test_where_all_is_right_the_interval_is_1_to_1():
    figure = ratio([3, 5, 2], [3, 5, 2], "none")
    assert (figure.value, figure.low, figure.high) == (1, 1, 1)


def test_slices_of_one_patient_that_agree_do_not_narrow_the_interval():
    """10 patients of 30 slices, all right or all wrong: as much is known as of 10 slices, not of 300."""
    right = np.array([1, 1, 1, 1, 1, 1, 0, 0, 0, 1])
    by_patient = ratio(30 * right, np.full(10, 30), "none")
    by_slice = ratio(np.repeat(right, 30), np.ones(300), "none")
    assert by_patient.value == by_slice.value == 0.7
    assert by_patient.high - by_patient.low > 4 * (by_slice.high - by_slice.low)
    one_slice = ratio(right, np.ones(10), "none")
    assert (by_patient.low, by_patient.high) == (one_slice.low, one_slice.high)


def test_patients_who_do_not_count_in_a_figure_change_nothing_of_it():
    with_them, without = ratio([1, 0, 2, 0, 1], [2, 0, 2, 0, 3], "none"), ratio([1, 2, 1], [2, 2, 3], "none")
    assert with_them == without and with_them.patients == 3


def test_nothing_counted_is_null_with_the_reason():
    assert ratio([0, 0], [0, 0], "no lesion").rounded() == Figure(
        value=None, low=None, high=None, n=0, patients=0, reason="no lesion"
    )
    assert median([], [], "no lesion") == undefined("no lesion")


def test_figure_of_one_patient_has_no_interval():
    assert ratio([0, 1], [0, 2], "") == Figure(0.5, None, None, 2, 1, bootstrap.ONE_PATIENT)


def test_complements_have_complementary_intervals():
    hit, true = np.array([2, 0, 5, 1]), np.array([3, 2, 5, 4])
    found, missed = ratio(hit, true, ""), ratio(true - hit, true, "")
    assert (missed.value, missed.low, missed.high) == pytest.approx((1 - found.value, 1 - found.high, 1 - found.low))


def test_draws_are_seeded_and_each_has_as_many_patients_as_there_are():
    first = bootstrap.draws(7).copy()
    bootstrap.draws.cache_clear()
    np.testing.assert_array_equal(first, bootstrap.draws(7))
    assert first.shape == (bootstrap.RESAMPLES, 7) and set(first.sum(axis=1)) == {7}
    assert first.mean(axis=0) == pytest.approx(np.ones(7), abs=0.1)


def test_a_median_is_drawn_by_patient(rng):
    values, patient = np.array([1.0, 2, 3, 10, 11, 12, 20]), np.array([0, 0, 0, 1, 1, 1, 2])
    figure = median(values[::-1], patient[::-1], "")
    assert (figure.value, figure.n, figure.patients) == (10, 7, 3)
    drawn = [rng.integers(0, 3, 3) for _ in range(4000)]
    medians = [
        np.quantile(np.concatenate([values[patient == p] for p in d]), 0.5, method="inverted_cdf") for d in drawn
    ]
    low, high = np.percentile(medians, [2.5, 97.5])
    assert (figure.low, figure.high) == (low, high)
