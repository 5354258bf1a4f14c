"""Lesions: which of the hot places make one, where it lies and how sure it is."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit, logit

import make_slices
from make_analysis import analysis
from nbcad.imaging.orientation import Canonical
from nbcad.inference import lesions
from nbcad.inference.lesions import SURE, OperatingPoint, find_lesions, smoothed_log_odds


def _heat_with_blob(shape, blob, stage=2) -> np.ndarray:
    heat = np.zeros((shape[0], 5, *shape[1:]), np.float32)
    heat[:, 0] = 1
    heat[:, 0][blob] = 0.1
    heat[:, stage][blob] = 0.9
    return heat


@pytest.mark.parametrize(
    ("along_row", "along_column"),
    [((1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, 1, 0)), ((0, -1, 0), (1, 0, 0)), ((0, 1, 0), (-1, 0, 0))],
)
def test_hot_places_become_a_lesion_where_they_lie_in_the_stored_image(along_row, along_column):
    slices = make_slices.slices(5, 64, 80, along_row, along_column)
    turned = Canonical.of(slices[0].geometry)
    shape = turned.shape((64, 80))
    heat = _heat_with_blob((5, shape[0] // 4 + 1, shape[1] // 4 + 1), np.s_[1:4, 4:7, 9:12])
    (lesion,) = find_lesions(heat, slices, OperatingPoint(0.1, 0.1))
    assert set(lesion.boxes) == {1, 2, 3}
    assert lesion.boxes[2] == turned.box_to_stored((14, 34, 26, 46), (64, 80))
    row, column, _, _ = turned.box_to_stored((20, 40, 20, 40), (64, 80))
    assert lesion.centre == pytest.approx((2, row - 0.5, column - 0.5))
    odds = smoothed_log_odds(heat)
    assert lesion.probability == pytest.approx(expit(odds.max()))
    np.testing.assert_allclose(lesion.stages, [0, 1, 0, 0], atol=1e-6)


def test_threshold_is_of_the_peak_and_extent_of_the_places_round_it():
    heat = _heat_with_blob((5, 17, 21), np.s_[1:4, 4:7, 9:12])
    slices, peak = make_slices.slices(5, 64, 80), float(expit(smoothed_log_odds(heat).max()))
    assert find_lesions(heat, slices, OperatingPoint(peak + 1e-6, 0.1)) == []
    (narrow,) = find_lesions(heat, slices, OperatingPoint(peak - 1e-6, 0.1))
    (wide,) = find_lesions(heat, slices, OperatingPoint(peak - 1e-6, 3e-4))
    assert set(narrow.boxes) == {1, 2, 3} and set(wide.boxes) == {0, 1, 2, 3, 4}
    assert wide.probability == narrow.probability == pytest.approx(peak)


def _two_peaks(valley) -> np.ndarray:
    """Heat of two peaks of probability 0.9 and a place of ``valley`` between them; it is not smoothed."""
    heat = np.zeros((1, 5, 17, 21), np.float32)
    heat[:, 0] = 0.9999
    heat[0, 0, 8, [8, 9, 10, 11, 12]] = 1 - np.array([0.9, 0.9, valley, 0.9, 0.9])
    heat[:, 1] = 1 - heat[:, 0]
    return heat


@pytest.mark.parametrize(("valley", "count"), [(0.85, 2), (0.89, 1), (0.9, 1)])
def test_connected_heat_is_divided_at_a_valley_and_not_at_a_ripple(monkeypatch, valley, count):
    monkeypatch.setattr(lesions, "SMOOTHING", (0, 0, 0))
    found = find_lesions(_two_peaks(valley), make_slices.slices(1, 64, 80), OperatingPoint(0.5, 0.5))
    assert len(found) == count
    columns = sorted((box[1], box[3]) for lesion in found for box in lesion.boxes.values())
    assert (columns[0][0], columns[-1][1]) == (30, 50)
    assert all(before[1] == after[0] for before, after in pairwise(columns))


def test_ripples_of_what_is_tumour_beyond_doubt_do_not_divide_it(monkeypatch):
    monkeypatch.setattr(lesions, "SMOOTHING", (0, 0, 0))
    heat = _two_peaks(float(expit(SURE + 0.1)))
    heat[0, 0, 8, [8, 9, 11, 12]] = 1 - expit(SURE + 2)
    assert len(find_lesions(heat, make_slices.slices(1, 64, 80), OperatingPoint(0.5, 0.5))) == 1
    monkeypatch.setattr(lesions, "SURE", 9.0)
    assert len(find_lesions(heat, make_slices.slices(1, 64, 80), OperatingPoint(0.5, 0.5))) == 2


def test_heat_that_is_even_all_over_is_one_lesion():
    heat = np.full((2, 5, 17, 21), 0.2, np.float32)
    (lesion,) = find_lesions(heat, make_slices.slices(2, 64, 80), OperatingPoint(0.5, 0.5))
    assert lesion.boxes[1] == (0, 0, 64, 80)


def test_hot_place_at_the_edge_gets_a_box_inside_the_image():
    heat = _heat_with_blob((2, 17, 21), np.s_[:, 0:2, 19:21])
    (lesion,) = find_lesions(heat, make_slices.slices(2, 64, 80), OperatingPoint(0.3, 0.3))
    assert lesion.boxes[0] == (0, 74, 6, 80)


def test_smoothing_averages_log_odds_and_leaves_even_heat_alone():
    even = np.full((3, 5, 6, 6), 0.2, np.float32)
    np.testing.assert_allclose(smoothed_log_odds(even), logit(0.8), rtol=1e-5)
    lonely = smoothed_log_odds(_heat_with_blob((5, 17, 21), np.s_[2, 8, 10]))
    assert lonely[2, 8, 10] == lonely.max() < logit(0.9)


@pytest.mark.parametrize("rows", [61, 62, 63, 64])
def test_lesion_at_the_far_edge_has_a_box_inside_the_image(rows):
    """The last place of a heat map may lie beyond the edge."""
    image = analysis(shape=(rows, rows)).slices[0]
    heat = np.zeros((1, 5, -(-rows // 4) + 1, -(-rows // 4) + 1), np.float32)
    heat[:, 0] = 1
    heat[:, :2, -1, -1] = [[0, 1]]
    (spot,) = find_lesions(heat, [image], OperatingPoint(0.05, 0.05))
    row0, col0, row1, col1 = spot.boxes[0]
    assert 0 <= row0 < row1 <= rows and 0 <= col0 < col1 <= rows
