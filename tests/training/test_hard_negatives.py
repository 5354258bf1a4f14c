from collections import Counter

import numpy as np
import pytest

import make_slices
from nbcad.dicom import Slice, read_pixels
from nbcad.evaluation.truth import Truth, read_split
from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import STAGE_WINDOW, enhance, pad_for_windows, stage_grid
from nbcad.inference.heat import TRAIN_VAL, heat_maps, to_fully_convolutional
from nbcad.inference.lesions import STRIDE, OperatingPoint, find_lesions, place_in_stored
from nbcad.nets import caffe_net
from nbcad.samples import lmdb_io
from nbcad.samples.database import SampleDatabase
from nbcad.samples.images import load_series
from nbcad.training import hard_negatives
from repository import run_tool

ROWS, COLUMNS = 96, 128


def _slices(*axes) -> list[Slice]:
    return make_slices.slices(3, ROWS, COLUMNS, *axes)


def _heat(slices: list[Slice], *hot: tuple[int, int, int]) -> np.ndarray:
    height, width = Canonical.of(slices[0].geometry).shape((ROWS // STRIDE + 1, COLUMNS // STRIDE + 1))
    heat = np.zeros((len(slices), 5, height, width), np.float32)
    heat[:, 0] = 1
    for index, row, column in hot:
        heat[index, 0, row, column], heat[index, 2, row, column] = 0.1, 0.9
    return heat


def _truth(lesions=(), looked_at=(True, True, True)) -> Truth:
    return Truth("p", "L2", [None] * 3, list(looked_at), list(lesions))


@pytest.mark.parametrize(
    ("along_row", "along_column"), [((1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, -1, 0)), ((0, -1, 0), (1, 0, 0))]
)
def test_windows_are_cut_round_false_places_and_off_lesions(along_row, along_column, rng):
    slices = _slices(along_row, along_column)
    turn = Canonical.of(slices[0].geometry)
    volume = rng.integers(0, 255, (3, ROWS, COLUMNS), dtype=np.uint8)
    false, true = (1, 8, 9), (1, 16, 18)
    row, column = place_in_stored(true[1:], slices[1])
    lesion = {1: (row - 5, column - 5, row + 5, column + 5)}
    windows = hard_negatives.false_windows(_heat(slices, false, true), slices, volume, _truth([lesion]), rng)
    assert len(windows) == hard_negatives.WINDOWS_PER_PLACE
    padded = pad_for_windows(stage_grid(turn.apply(volume[1]), (2.0, 2.0)))
    every = np.lib.stride_tricks.sliding_window_view(padded, (STAGE_WINDOW, STAGE_WINDOW))
    near = every[32 - 2 : 32 + 3, 36 - 2 : 36 + 3].reshape(-1, STAGE_WINDOW, STAGE_WINDOW)
    for window in windows:
        assert any(np.array_equal(window, one) or np.array_equal(window, one[:, ::-1]) for one in near)


def test_a_place_of_the_heat_map_lies_where_a_lesion_there_has_its_centre():
    slices = _slices((0, 1, 0), (-1, 0, 0))
    hot = [(n, row, column) for n in range(3) for row in (7, 8, 9) for column in (9, 10, 11)]
    (lesion,) = find_lesions(_heat(slices, *hot), slices, OperatingPoint(0.1, 0.1))
    row, column = place_in_stored((8, 10), slices[0])
    assert lesion.centre[1:] == pytest.approx((row - 0.5, column - 0.5))


def test_places_on_slices_that_nobody_looked_at_are_not_called_normal(rng):
    slices = _slices()
    volume = rng.integers(0, 255, (3, ROWS, COLUMNS), dtype=np.uint8)
    truth = _truth(looked_at=(True, False, True))
    assert hard_negatives.false_windows(_heat(slices, (1, 8, 9)), slices, volume, truth, rng) == []


def test_mined_windows_join_the_training_windows_as_normal(flow, tmp_path):
    out = tmp_path / "hard"
    arguments = ("--run", flow.models / "stage", "--database", flow.database, "--lmdb", flow.lmdbs, "--out", out)
    done = run_tool("mine_hard_negatives", *arguments)
    assert done.returncode == 0, done.stderr
    images, labels = lmdb_io.read(out)
    before, labels_before = lmdb_io.read(flow.lmdbs / "stage_train")
    entries = Counter((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))
    added = entries - Counter((image.tobytes(), int(label)) for image, label in zip(before, labels_before, strict=True))
    assert len(images) - len(before) == added.total() == _false_windows(flow)
    assert {label for _, label in added} <= {0}
    assert f"{len(before)} training windows and {added.total()} hard negatives" in done.stdout
    assert run_tool("mine_hard_negatives", *arguments).returncode == 1  # not overwritten
    assert run_tool("mine_hard_negatives", *arguments, "--force").returncode == 0
    np.testing.assert_array_equal(lmdb_io.read(out)[0], images)


def _false_windows(flow) -> int:
    """How many hard negatives the training patients alone give."""
    net = to_fully_convolutional(flow.models / "stage" / "final.caffemodel")
    transform, rng, count = caffe_net.transform_of(TRAIN_VAL), np.random.default_rng(0), 0
    with SampleDatabase.open(flow.database) as database:
        for number, truth in read_split(database, "train"):
            slices, pixels = read_pixels(load_series(database, number)[0])
            volume = enhance(pixels)
            heat = heat_maps(net, transform, slices, volume)
            count += len(hard_negatives.false_windows(heat, slices, volume, truth, rng))
    return count
