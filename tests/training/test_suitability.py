"""The measure of likeness and its limits, as they are chosen on the validation patients."""

import numpy as np
import pytest

from nbcad.errors import ModelError
from nbcad.inference.suitability import LIKENESS, Likeness
from nbcad.training.suitability import MARGIN, choose_limits, fit_density

DIRECTIONS = np.random.default_rng(1).normal(size=(3, 40))


def _features(count: int, seed: int, off: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Features along three directions, ``off`` them by so much noise."""
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=(count, 3)) @ DIRECTIONS + (0.1 + off) * rng.normal(size=(count, 40))


def _likeness(folder=None) -> Likeness:
    density = fit_density(_features(300, 2))
    likeness = Likeness(density, choose_limits([-density.score_samples(_features(50, 3))], [["thorax"] * 50]))
    if folder is None:
        return likeness
    likeness.save(folder)
    return Likeness.load(folder)


@pytest.mark.parametrize("unlike", [{"off": 1.0}, {"scale": 6.0}])
def test_what_lies_off_the_training_data_or_far_out_is_unlike(unlike):
    likeness = _likeness()
    like, other = (likeness.unlikeness(x) for x in (_features(50, 4), _features(50, 5, **unlike)))
    assert np.median(other) > like.max()


def test_likeness_is_read_back_as_written_and_the_same_one_gives_the_same_bytes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    read, made, features = _likeness(tmp_path / "a"), _likeness(), _features(20, 6)
    assert read.limits == made.limits
    np.testing.assert_array_equal(read.unlikeness(features), made.unlikeness(features))
    made.save(tmp_path / "b")
    assert (tmp_path / "a" / LIKENESS).read_bytes() == (tmp_path / "b" / LIKENESS).read_bytes()


def test_damaged_likeness_is_named(tmp_path):
    _likeness(tmp_path)
    (tmp_path / LIKENESS).write_bytes(b"PK")
    with pytest.raises(ModelError, match="likeness"):
        Likeness.load(tmp_path)


def test_every_validation_series_is_suited_within_the_limits():
    unlike = [np.r_[np.zeros(80), np.full(20, 5.0)], np.zeros(100)]
    limits = choose_limits(unlike, [["other"] * 60 + ["thorax"] * 40, ["thorax"] * 100])
    shares = [np.mean(values <= limits.unlikeness) for values in unlike]
    assert limits.alike == pytest.approx(MARGIN * min(shares)) and limits.hardly_alike < limits.alike
    assert limits.recognised < 0.4
