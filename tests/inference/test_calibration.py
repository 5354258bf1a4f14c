"""Probabilities that mean what they say."""

import numpy as np
import pytest
from scipy.special import expit, logit

from make_analysis import lesion
from nbcad.inference.calibration import Calibration, tempered


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


def test_temperature_keeps_the_order_of_stages_and_the_sum():
    stages = np.array([0.05, 0.5, 0.15, 0.3])
    for temperature in (0.3, 4.0):
        after = tempered(stages, temperature)
        assert after.sum() == pytest.approx(1) and (np.argsort(after) == np.argsort(stages)).all()
