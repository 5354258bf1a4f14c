"""Side and site of a lesion: from its place in the trunk, whatever way the slice is stored."""

import numpy as np
import pytest

from make_analysis import AXIAL, analysis, lesion
from nbcad.imaging.orientation import Canonical
from nbcad.inference.site import Situation, Situations, trunk_on

SHAPE, MIDDLE, HALF = (110, 140), (56, 78), (35, 45)  # of the turned slice and of its trunk, pixels of 2 mm
X, Y, Z = np.eye(3)
STORED = [AXIAL, (-X, Y), (X, -Y), (Y, X), (-Y, X), (Y, -X)]


def _trunk(arms: bool = False) -> np.ndarray:
    """A turned slice of a trunk, its middle away from the image's, in noise."""
    row, column = np.ogrid[: SHAPE[0], : SHAPE[1]]
    image = np.random.default_rng(3).integers(0, 9, SHAPE).astype(np.uint8)
    across, down = (column - MIDDLE[1] + 0.5) / HALF[1], (row - MIDDLE[0] + 0.5) / HALF[0]
    image[across**2 + down**2 < 1] = 60
    image[(across / 0.6) ** 2 + (down / 0.6) ** 2 < 1] = 200
    if arms:  # one arm in the image, touching the chest
        image[((column - MIDDLE[1] - HALF[1] - 7) / 8) ** 2 + ((row - MIDDLE[0]) / 8) ** 2 < 1] = 120
    return image


def _situation(across: float, depth: float, axes=AXIAL, organs=("adrenal",) * 5, image=None) -> Situation:
    """Return the situation of a lesion of five slices at a place relative to the trunk."""
    row, column = MIDDLE[0] + HALF[0] - depth * 2 * HALF[0], MIDDLE[1] + across * HALF[1]
    image = _trunk() if image is None else image
    series = analysis(count=5, shape=SHAPE, axes=axes)
    turn = Canonical.of(series.slices[0].geometry)
    stored = image[:: -1 if turn.rows_flipped else 1, :: -1 if turn.columns_flipped else 1]
    series = analysis(count=5, shape=(stored.T if turn.transposed else stored).shape, axes=axes)
    series.volume[:] = stored.T if turn.transposed else stored
    series.organs = list(organs)
    shape = series.volume.shape[1:]
    box = turn.box_to_stored((row - 4, column - 4, row + 4, column + 4), shape)
    return Situations(series).of(lesion(dict.fromkeys(range(5), box)).boxes)


@pytest.mark.parametrize("axes", STORED)
@pytest.mark.parametrize(("across", "side"), [(-0.35, "right"), (0.35, "left"), (0.02, "midline")])
def test_side_is_the_patients_however_the_slice_is_stored(axes, across, side):
    assert _situation(across, 0.6, axes).side == side


@pytest.mark.parametrize("axes", STORED)
def test_site_is_the_region_beside_the_spine_however_the_slice_is_stored(axes):
    assert _situation(-0.35, 0.38, axes) == ("right", "adrenal")
    assert _situation(-0.35, 0.7, axes) == ("right", None)


@pytest.mark.parametrize("region", ["adrenal", "retroperitoneum", "thorax"])
@pytest.mark.parametrize(
    ("across", "depth"),
    [
        pytest.param(-0.5, 0.7, id="liver, front"),
        pytest.param(-0.75, 0.4, id="liver, side"),
        pytest.param(0.72, 0.3, id="spleen"),
        pytest.param(0.1, 0.8, id="bowel"),
        pytest.param(0.0, 0.25, id="vertebra"),
        pytest.param(-0.12, 0.27, id="transverse process"),
        pytest.param(-0.3, 0.08, id="muscles of the back"),
        pytest.param(0.9, 0.5, id="chest wall"),
        pytest.param(0.2, 0.6, id="lymph node before the great vessels"),
    ],
)
def test_lesion_elsewhere_on_the_slices_of_a_region_has_no_site(region, across, depth):
    assert _situation(across, depth, organs=(region,) * 5).site is None


@pytest.mark.parametrize("region", ["adrenal", "retroperitoneum", "thorax"])
def test_lesion_beside_the_spine_has_the_region_of_its_slices_as_its_site(region):
    for across in (-0.3, 0.3):
        assert _situation(across, 0.35, organs=(region,) * 5).site == region


@pytest.mark.parametrize(
    "organs",
    [
        ("other",) * 5,
        ("other", "other", "other", "adrenal", "adrenal"),
        ("retroperitoneum", "adrenal", "adrenal", "adrenal", "retroperitoneum"),
        ("kidney",) * 5,
    ],
)
def test_slices_of_no_region_or_of_several_give_no_site(organs):
    assert _situation(0.35, 0.38, organs=organs) == ("left", None)


def test_region_of_most_slices_suffices():
    assert _situation(0.35, 0.38, organs=("adrenal",) * 4 + ("other",)).site == "adrenal"


@pytest.mark.parametrize("axes", [None, (X, -Z), (Y, -Z)])
def test_nothing_is_determined_without_an_axial_plane(axes):
    assert _situation(0.35, 0.38, axes) == (None, None)


def test_nothing_is_determined_where_no_trunk_is_seen():
    assert _situation(0.35, 0.38, image=np.zeros(SHAPE, np.uint8)) == (None, None)


def test_edges_of_the_trunk_are_found_with_and_without_arms():
    expected = [2 * edge for n in (0, 1) for edge in (MIDDLE[n] - HALF[n], MIDDLE[n] + HALF[n])]
    for arms in (False, True):
        trunk = trunk_on(_trunk(arms), (2.0, 2.0))
        assert [trunk.front, trunk.back, trunk.right, trunk.left] == pytest.approx(expected, abs=6)
