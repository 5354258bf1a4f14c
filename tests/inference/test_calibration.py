"""Probabilities that mean what they say."""

import numpy as np
import pytest
from scipy.special import expit, logit, softmax

from make_analysis import lesion
from nbcad.inference.calibration import Calibration, tempered
from nbcad.training.calibration import LEAST_CASES, fit_lesions, fit_temperature


def test_no_calibration_changes_nothing():
    before = lesion({0: (2, 2, 5, 5)}, stages=(0.1, 0.2, 0.3, 0.4), probability=0.3)
    after = Calibration().calibrate_lesion(before)
    assert after.probability == pytest.approx(0.3) and after.boxes == before.boxes
    np.testing.assert_allclose(after.stages, before.stages)


def test_lesion_gets_its_probability_and_stages_calibrated():
    after = Calibration(2.0, 1.0, 0.5).calibrate_lesion(
        lesion({0: (2, 2, 5, 5)}, stages=(0.2, 0.8, 0, 0), probability=0.4)
    )
    assert after.probability == pytest.approx(expit(2 * logit(0.4) + 1))
    np.testing.assert_allclose(after.stages, [0.04 / 0.68, 0.64 / 0.68, 0, 0], atol=1e-6)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_certainty_stays_a_number(probability):
    after = Calibration(2.0, 1.0).calibrate_lesion(lesion({0: (2, 2, 5, 5)}, probability=probability))
    assert 0 < after.probability < 1


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


def test_temperature_keeps_the_order_of_stages_and_the_sum():
    stages = np.array([0.05, 0.5, 0.15, 0.3])
    for temperature in (0.3, 4.0):
        after = tempered(stages, temperature)
        assert after.sum() == pytest.approx(1) and (np.argsort(after) == np.argsort(stages)).all()
