"""Measures of a lesion in the patient: where it lies, how large it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from make_analysis import analysis, lesion
from nbcad.inference.measure import Diameters, diameters_mm, millimetres, volume_mm3


@settings(deadline=None, max_examples=60)
@given(
    turn=st.tuples(*[st.floats(-180, 180)] * 3),
    mirrored=st.booleans(),
    spacing=st.tuples(*[st.floats(0.3, 4)] * 2),
    step=st.floats(1, 8),
    first=st.integers(0, 3),
    corner=st.tuples(*[st.floats(0, 10)] * 2),
    size=st.tuples(*[st.floats(1, 10)] * 2),
    centre=st.tuples(st.floats(0, 5), st.floats(0, 23), st.floats(0, 19)),
)
def test_lesion_lies_in_the_patient_where_its_pixels_do_whatever_the_plane(
    turn, mirrored, spacing, step, first, corner, size, centre
):
    """Against the affine matrix of DICOM PS3.3 C.7.6.2.1.1, for oblique and flipped planes."""
    axes = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()[:2]
    if mirrored:
        axes = -axes[0], axes[1]
    box = (*corner, corner[0] + size[0], corner[1] + size[1])
    spot = lesion({first: box, first + 2: box}, centre=centre)
    series = analysis([spot], count=6, spacing=spacing, axes=tuple(axes), step_mm=step)
    affine = np.column_stack([np.cross(*axes) * step, axes[1] * spacing[0], axes[0] * spacing[1]])
    origin = series.slices[0].geometry.position
    found, (low, high) = millimetres(spot, series)
    np.testing.assert_allclose(found, origin + affine @ centre, atol=0.01)
    corners = [
        origin + affine @ (index, row - 0.5, column - 0.5)
        for index in (first - 0.5, first + 2.5)
        for row in box[::2]
        for column in box[1::2]
    ]
    np.testing.assert_allclose(low, np.min(corners, axis=0), atol=0.01)
    np.testing.assert_allclose(high, np.max(corners, axis=0), atol=0.01)


def test_lesion_of_a_single_slice_gets_no_thickness_that_nobody_measured():
    spot = lesion({0: (2, 4, 6, 8)})
    series = analysis([spot], count=1)
    _, (low, high) = millimetres(spot, series)
    assert low[2] == high[2] == series.slices[0].geometry.position[2]
    assert volume_mm3(spot, series) is None
    assert diameters_mm(spot, series) == Diameters(8.0, 8.0, None)


def test_volume_and_diameters_of_an_ellipsoid_found_exactly_are_its_own():
    radii, spacing, step = np.array([9.0, 24.0, 15.0]), (1.5, 2.0), 0.5  # mm: slices, rows, columns
    boxes = {}
    for index in range(36):
        half = np.sqrt(1 - ((index - 17.5) * step / radii[0]) ** 2) * radii[1:] / spacing
        boxes[index] = (20 - half[0], 10 - half[1], 20 + half[0], 10 + half[1])
    series = analysis([lesion(boxes)], count=36, shape=(40, 20), spacing=spacing, step_mm=step)
    volume, found = volume_mm3(series.lesions[0], series), diameters_mm(series.lesions[0], series)
    assert volume == pytest.approx(4 / 3 * np.pi * radii.prod(), rel=1e-3)
    assert (found.long_axis, found.short_axis, found.craniocaudal) == pytest.approx((48, 30, 18), abs=0.1)
    assert volume == pytest.approx(np.pi / 6 * found.long_axis * found.short_axis * found.craniocaudal, rel=0.01)


def test_diameters_are_of_the_slice_with_the_largest_box_and_of_all_slices():
    spot = lesion({1: (2, 4, 4, 19), 2: (2, 4, 12, 10), 4: (2, 4, 6, 8)})
    series = analysis([spot], count=6, spacing=(2.0, 1.5), step_mm=4.0)
    assert diameters_mm(spot, series) == Diameters(20.0, 9.0, 16.0)


def test_slices_across_another_plane_are_no_craniocaudal_diameter():
    spot = lesion({0: (2, 4, 6, 8), 1: (2, 4, 6, 8)})
    coronal = analysis([spot], axes=(np.array([1.0, 0, 0]), np.array([0, 0, -1.0])))
    assert diameters_mm(spot, coronal).craniocaudal is None
