import tracemalloc

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbcad.dicom import Geometry
from nbcad.imaging import preprocess
from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import (
    STAGE_WINDOW,
    Jitter,
    enhance,
    organ_input,
    pad_for_windows,
    stage_grid,
    stage_window,
)

AXES = [np.array(v, float) for v in ([1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0])]
AXIAL = [(a, b) for a in AXES for b in AXES if abs(a @ b) < 0.5]


def _plane(along_row, along_column) -> Geometry:
    return Geometry(np.zeros(3), np.asarray(along_row, float), np.asarray(along_column, float), 2.0, 3.0)


def test_hot_pixels_do_not_set_the_scale(rng):
    volume = rng.uniform(100, 200, (4, 50, 50)).astype(np.float32)
    volume[0, 0, 0] = 1e6
    enhanced = enhance(volume)
    assert enhanced.dtype == np.uint8
    assert enhanced.min() == 0 and enhanced.max() == 255
    assert np.median(enhanced) == pytest.approx(127, abs=8)


def test_enhance_takes_no_more_memory_than_one_copy_of_the_series(rng):
    volume = rng.uniform(100, 200, (40, 100, 100)).astype(np.float32)
    tracemalloc.start()
    enhance(volume)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.6 * volume.nbytes


@pytest.mark.parametrize("slices", [1, 6])
def test_enhance_with_n4_flattens_a_bias_field(rng, slices):
    rows = np.linspace(0.5, 1.5, 64)[None, :, None]
    volume = (1000 * rows + rng.normal(0, 5, (slices, 64, 64))).astype(np.float32)
    volume[:, :8] = volume[:, -8:] = 0
    uneven, even = enhance(volume), enhance(volume, n4=True)
    inside = np.s_[:, 10:-10]
    assert even[inside].std() / even[inside].mean() < 0.5 * uneven[inside].std() / uneven[inside].mean()


@pytest.mark.parametrize(("along_row", "along_column"), AXIAL)
def test_turned_axial_slice_runs_to_posterior_and_to_left(along_row, along_column):
    plane = _plane(along_row, along_column)
    rows, columns = np.mgrid[0:5, 0:7]
    places = np.stack(np.vectorize(lambda r, c: tuple(plane.pixel_to_patient(r, c)))(rows, columns), -1)
    turn = Canonical.of(plane)
    x, y = turn.apply(places[..., 0]), turn.apply(places[..., 1])
    assert (np.diff(x, axis=1) > 0).all() and (np.diff(y, axis=0) > 0).all()
    assert turn.shape((5, 7)) == x.shape
    assert turn.spacing((2.0, 3.0)) == (np.diff(y, axis=0)[0, 0], np.diff(x, axis=1)[0, 0])


@given(
    plane=st.sampled_from(AXIAL),
    box=st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(1, 5), st.integers(1, 7)),
)
def test_box_of_a_turned_slice_holds_the_same_pixels_and_maps_back(plane, box):
    row0, col0, row1, col1 = box[0], box[1], min(box[0] + box[2], 5), min(box[1] + box[3], 7)
    stored = np.zeros((5, 7), bool)
    stored[row0:row1, col0:col1] = True
    turn = Canonical.of(_plane(*plane))
    turned_box = turn.box_to_canonical((row0, col0, row1, col1), stored.shape)
    again = np.zeros(turn.shape(stored.shape), bool)
    again[int(turned_box[0]) : int(turned_box[2]), int(turned_box[1]) : int(turned_box[3])] = True
    np.testing.assert_array_equal(again, turn.apply(stored))
    assert turn.box_to_stored(turned_box, stored.shape) == (row0, col0, row1, col1)


def test_plane_that_is_not_axial_or_not_known_is_left_as_it_is():
    for plane in (None, _plane([0, 1, 0], [0, 0, -1])):
        assert Canonical.of(plane) == Canonical(False, False, False)


def test_organ_input_keeps_true_proportions_on_a_square():
    image = np.full((100, 100), 200, np.uint8)
    square = organ_input(image, (1.0, 2.0), 64)  # 100 mm high, 200 mm wide
    assert square.shape == (64, 64)
    assert (square[:14] < 20).all() and (square[-14:] < 20).all() and (square[20:44] > 100).all()


@pytest.mark.parametrize(
    ("jitter", "place"),
    [
        (Jitter(0, 1, 0, 0), (20, 40)),
        (Jitter(0, 1, 0.25, -0.125), (36, 32)),
        (Jitter(90, 1, 0, 0), (23, 20)),  # against the clock
        (Jitter(0, 2, 0, 0), (8.5, 48.5)),
    ],
)
def test_jitter_moves_a_mark_to_where_it_says(jitter, place):
    square = np.zeros((64, 64), np.uint8)
    square[20, 40] = 255
    moved = jitter.apply(square).astype(float)
    centre = [(moved * axis).sum() / moved.sum() for axis in np.indices(moved.shape)]
    np.testing.assert_allclose(centre, place, atol=0.51)


def test_jittered_organ_input_is_enhanced_after_it_is_moved(rng):
    image, jitter = rng.integers(0, 255, (128, 128), dtype=np.uint8), Jitter(5, 1.1, 0.1, 0)
    clahe = cv2.createCLAHE(preprocess.CLAHE_CLIP_LIMIT, preprocess.CLAHE_TILES)
    expected = clahe.apply(jitter.apply(preprocess.organ_square(image, (1, 1), 64)))
    np.testing.assert_array_equal(organ_input(image, (1, 1), 64, jitter), expected)


def test_stage_grid_has_fixed_millimetres():
    assert stage_grid(np.zeros((120, 90), np.uint8), (1.0, 1.5)).shape == (60, 68)


def test_window_is_centred_and_stays_on_the_grid(rng):
    grid = rng.integers(1, 255, (50, 60), dtype=np.uint8)
    padded = pad_for_windows(grid)
    np.testing.assert_array_equal(stage_window(padded, 20, 30), grid[4:36, 14:46])
    corner = stage_window(padded, 0, 0)
    half = STAGE_WINDOW // 2
    assert (corner[:half] == 0).all() and (corner[half:, half:] == grid[:half, :half]).all()
    assert stage_window(padded, 500, -3).shape == (STAGE_WINDOW, STAGE_WINDOW)


def test_padding_for_a_stride_leaves_whole_strides():
    padded = pad_for_windows(np.zeros((51, 64), np.uint8), stride=4)
    assert [(n - STAGE_WINDOW) % 4 for n in padded.shape] == [0, 0]


def test_shrinking_averages_instead_of_picking_pixels():
    fine = np.indices((128, 128)).sum(axis=0).astype(np.uint8) % 2 * 255
    assert np.ptp(preprocess.organ_square(fine, (1, 1), 32)) <= 1
