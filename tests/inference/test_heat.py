"""Heat: the stage net over whole slices."""

import numpy as np
import pytest

import make_slices
from nbcad.errors import ModelError
from nbcad.imaging.preprocess import STAGE_WINDOW
from nbcad.inference.heat import DEPLOY, TRAIN_VAL, heat_maps, to_fully_convolutional
from nbcad.inference.lesions import STRIDE
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The deploy net with the values of its fillers, saved as if it were trained."""
    caffe.set_random_seed(3)
    path = tmp_path_factory.mktemp("stage") / "final.caffemodel"
    net = caffe_net.load_net(DEPLOY)
    net.save(str(path))
    return path


def test_fully_convolutional_net_equals_the_deployed_net_on_every_window(weights, rng):
    image = rng.uniform(-1, 3, (STAGE_WINDOW + 3 * STRIDE, STAGE_WINDOW + 5 * STRIDE)).astype(np.float32)
    (over_slice,) = caffe_net.forward(to_fully_convolutional(weights), image[None, None], ["prob"])
    windows = np.lib.stride_tricks.sliding_window_view(image, (STAGE_WINDOW, STAGE_WINDOW))[::STRIDE, ::STRIDE]
    flat = windows.reshape(-1, 1, STAGE_WINDOW, STAGE_WINDOW)
    (single,) = caffe_net.forward(caffe_net.load_net(DEPLOY, weights), flat, ["prob"])
    assert over_slice.shape[2:] == (4, 6)
    np.testing.assert_allclose(over_slice[0].reshape(5, -1).T, single, atol=1e-5)


def test_heat_map_is_a_probability_at_every_place_of_every_slice(weights, rng):
    volume = rng.integers(0, 255, (2, 60, 80), dtype=np.uint8)
    net = to_fully_convolutional(weights)
    transform = caffe_net.transform_of(TRAIN_VAL)
    probabilities = heat_maps(net, transform, make_slices.slices(2, 60, 80), volume)
    assert probabilities.shape == (2, 5, 60 // STRIDE + 1, 80 // STRIDE + 1)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_weights_of_another_net_are_not_taken_for_the_stagers(eager, tmp_path):
    path = tmp_path / "final.caffemodel"
    eager.organ_net.save(str(path))
    with pytest.raises(ModelError, match="does not fit"):
        to_fully_convolutional(path)
