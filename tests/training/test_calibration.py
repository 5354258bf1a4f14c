"""The fit of calibrations: what makes probabilities mean what they say, and when there are too few to tell."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from nbcad.inference.calibration import tempered
from nbcad.training.calibration import LEAST_CASES, fit_lesions, fit_temperature


def test_calibrated_lesions_are_true_as_often_as_they_say(rng):
    odds = rng.normal(-1, 1.5, 20_000)
    slope, intercept = fit_lesions(expit(odds), rng.random(len(odds)) < expit(1.7 * odds + 1.2))
    assert (slope, intercept) == pytest.approx((1.7, 1.2), abs=0.1)


def test_too_few_lesions_of_either_kind_calibrate_nothing():
    few = LEAST_CASES - 1
    assert fit_lesions([0.3] * (few + 50), [False] * few + [True] * 50) == (1, 0)
    assert fit_lesions([0.3] * (few + 50), [True] * few + [False] * 50) == (1, 0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_that_made_a_net_too_sure_or_unsure_is_found_again(rng, temperature):
    right = softmax(rng.normal(0, 2, (5_000, 4)), axis=1)
    truth = [int(rng.choice(4, p=p)) for p in right]
    assert fit_temperature(list(tempered(right, 1 / temperature)), truth) == pytest.approx(temperature, rel=0.1)


def test_a_dozen_patients_all_right_do_not_make_it_certain():
    right = np.array([0.6, 0.2, 0.1, 0.1])
    assert 0.3 < fit_temperature([right] * 12, [0] * 12) < 0.9


def test_too_few_patients_have_no_temperature():
    assert fit_temperature([np.array([0.5, 0.5])] * (LEAST_CASES - 1), [0] * (LEAST_CASES - 1)) == 1
