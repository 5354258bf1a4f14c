"""Where a box lies: from the patient to the stored file, through reading, turning and the heat map, and back again."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from make_analysis import analysis
from make_dicom import mr_image, write
from nbcad.dicom import read_archive
from nbcad.imaging.boxes import whole_pixels
from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import STAGE_MM_PER_PIXEL, stage_grid_shape
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.inference.lesions import STRIDE, OperatingPoint, find_lesions
from nbcad.inference.measure import millimetres

PLACE_MM = STRIDE * STAGE_MM_PER_PIXEL
COUNT = 4
# Every way to lay rows, columns and slices along the patient's axes: transposed, flipped, in negative direction.
SIGNED_AXES = [
    np.eye(3)[list(order)] * np.array(signs)[:, None]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@st.composite
def planes(draw):
    """Directions of rows, columns and from slice to slice; along the patient's axes or tilted by up to 30 degrees."""
    row, column, _ = draw(st.sampled_from(SIGNED_AXES))
    tilt = Rotation.from_rotvec(draw(st.tuples(*[st.floats(-30, 30)] * 3)), degrees=True)
    row, column = tilt.apply([row, column])
    return row, column, np.cross(row, column) * draw(st.sampled_from((1, -1)))  # stored upwards or downwards


@st.composite
def lesions(draw, shape, spacing):
    """A box of whole pixels, at least three places of the heat map long each way."""
    edges = []
    for size, mm in zip(shape, spacing, strict=True):
        least = math.ceil(3 * PLACE_MM / mm)
        assume(size > least + 2)
        first = draw(st.integers(0, size - least - 1))
        edges.append((first, draw(st.integers(first + least, size))))
    (row0, row1), (col0, col1) = edges
    return row0, col0, row1, col1


def _stored(folder, shape, spacing, plane, step_mm, rng):
    """A series written slice by slice, in no order, and read again."""
    along_row, along_column, up = plane
    for n in rng.permutation(COUNT):
        write(
            mr_image(
                rng.integers(0, 900, shape),
                np.round(np.array([10.0, -20.0, 30.0]) + n * step_mm * up, 6),
                ImageOrientationPatient=np.round([*along_row, *along_column], 9).tolist(),
                PixelSpacing=list(spacing),
                InstanceNumber=int(n),
            ),
            folder / f"{n}",
        )
    (series,) = read_archive(folder).series
    return series


def _heat(series, first: int, last: int, box) -> np.ndarray:
    """What a perfect net gives: the tumour wherever a place of the heat map lies in the box."""
    image = series.slices[0]
    turn, shape = Canonical.of(image.geometry), (image.rows, image.columns)
    grid = stage_grid_shape(turn.shape(shape), turn.spacing(image.spacing))
    turned = turn.apply(_mask(shape, box))
    heat = np.zeros((len(series.slices), 5, *(-(-n // STRIDE) + 1 for n in grid)), np.float32)
    heat[:, 0] = 1
    for i, j in np.ndindex(heat.shape[2:]):
        # Place (i, j) is the corner before grid pixel (i, j) * STRIDE.
        row, column = (
            int(np.clip(place * STRIDE * n / m, 0, n - 1))
            for place, n, m in zip((i, j), turned.shape, grid, strict=True)
        )
        if turned[row, column]:
            heat[first:last, 0, i, j] = 0
            heat[first:last, 2, i, j] = 1
    return heat


def _mask(shape, box) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[box[0] : box[2], box[1] : box[3]] = True
    return mask


@settings(deadline=None, max_examples=60)
@given(
    data=st.data(),
    plane=planes(),
    shape=st.tuples(*[st.integers(40, 90)] * 2),
    spacing=st.tuples(*[st.floats(0.8, 3).map(lambda mm: round(mm, 4))] * 2),
    step_mm=st.floats(2, 9),
)
def test_every_predicted_box_maps_back_to_the_pixels_that_made_it(
    tmp_path_factory, data, plane, shape, spacing, step_mm
):
    box = data.draw(lesions(shape, spacing))
    folder = tmp_path_factory.mktemp("series")
    series = _stored(folder, shape, spacing, plane, step_mm, np.random.default_rng(5))
    assert series.slice_step_mm == pytest.approx(step_mm, abs=1e-4)
    (lesion,) = find_lesions(_heat(series, 0, 2, box), series.slices, OperatingPoint(0.5, 0.5))
    assert set(lesion.boxes) == {0, 1}
    for found in lesion.boxes.values():
        row0, col0, row1, col1 = whole_pixels(found)
        assert 0 <= row0 < row1 <= shape[0] and 0 <= col0 < col1 <= shape[1]
        for edge, true, mm in zip(found, box, (*spacing, *spacing), strict=True):
            assert abs(edge - true) * mm <= PLACE_MM
    _check_patient_coordinates(lesion, series, box, plane, step_mm)


def _check_patient_coordinates(lesion, series, box, plane, step_mm) -> None:
    """Against the equation of DICOM PS3.3 C.7.6.2.1.1, from the numbers that were written."""
    along_row, along_column, up = plane
    row0, col0, row1, col1 = box
    spacing = series.slices[0].spacing

    def patient(row: float, column: float, n: float) -> np.ndarray:
        in_plane = along_column * spacing[0] * row + along_row * spacing[1] * column
        return np.array([10.0, -20.0, 30.0]) + in_plane + n * step_mm * up

    # Slices are sorted along the normal, which the files may have been numbered against.
    middle = 0.5 if up @ np.cross(along_row, along_column) > 0 else COUNT - 1.5
    centre, (low, high) = millimetres(lesion, _analysis(series, lesion))
    true = patient((row0 + row1 - 1) / 2, (col0 + col1 - 1) / 2, middle)
    # The centre, as an edge, may be off by a place in each of two directions of the plane.
    assert np.linalg.norm(np.subtract(centre, true)) <= math.sqrt(2) * PLACE_MM
    corners = [
        patient(row, column, middle + n)
        for row in (row0 - 0.5, row1 - 0.5)
        for column in (col0 - 0.5, col1 - 0.5)
        for n in (-1, 1)
    ]
    np.testing.assert_allclose(low, np.min(corners, axis=0), atol=math.sqrt(2) * PLACE_MM)
    np.testing.assert_allclose(high, np.max(corners, axis=0), atol=math.sqrt(2) * PLACE_MM)


def _analysis(series, lesion) -> SeriesAnalysis:
    made = analysis([lesion], count=len(series.slices))
    made.series, made.slices = series, series.slices
    return made


@settings(deadline=None, max_examples=100)
@given(plane=planes(), shape=st.tuples(*[st.integers(3, 9)] * 2), spacing=st.tuples(*[st.floats(0.5, 3)] * 2))
def test_turned_slice_has_true_spacing_and_runs_to_posterior_and_left(plane, shape, spacing):
    """Pixel by pixel: patient coordinates, turned as the image is, grow as the nets were trained to see them."""
    image = analysis(count=1, shape=shape, spacing=spacing, axes=plane[:2]).slices[0]
    places = np.array([[image.geometry.pixel_to_patient(r, c) for c in range(shape[1])] for r in range(shape[0])])
    turn = Canonical.of(image.geometry)
    turned = np.stack([turn.apply(places[..., axis]) for axis in range(3)], axis=-1)
    steps = np.linalg.norm(np.diff(turned, axis=0), axis=-1), np.linalg.norm(np.diff(turned, axis=1), axis=-1)
    np.testing.assert_allclose([np.median(s) for s in steps], turn.spacing(spacing), rtol=1e-9)
    if abs(np.cross(*plane[:2])).argmax() == 2 and abs(np.cross(*plane[:2]))[2] > 0.85:
        assert (np.diff(turned[..., 1], axis=0) > 0).all()  # down the rows to posterior
        assert (np.diff(turned[..., 0], axis=1) > 0).all()  # along the columns to left


@given(plane=planes(), shape=st.tuples(*[st.integers(1, 12)] * 2), data=st.data())
def test_box_is_the_same_after_turning_and_back_for_every_plane(plane, shape, data):
    image = analysis(count=1, shape=shape, axes=plane[:2]).slices[0]
    row0, row1 = sorted(data.draw(st.tuples(*[st.integers(0, shape[0])] * 2)))
    col0, col1 = sorted(data.draw(st.tuples(*[st.integers(0, shape[1])] * 2)))
    turn = Canonical.of(image.geometry)
    turned = turn.box_to_canonical((row0, col0, row1, col1), shape)
    assert turn.box_to_stored(turned, shape) == (row0, col0, row1, col1)
    mask = _mask(shape, (row0, col0, row1, col1))
    np.testing.assert_array_equal(turn.apply(mask), _mask(turn.shape(shape), turned))
