"""The same weights give the same answers in implementations that know nothing of each other: Caffe's own layers, the
fast ones, OpenCV's importer of Caffe's files and, where it is installed, PyTorch."""

import cv2
import numpy as np
import pytest

from nbcad import caffe_net
from nbcad.caffe_net import caffe

NETS = {"organ": "models/organ_net/deploy.prototxt", "stage": "models/stage_lenet5/deploy.prototxt"}
CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(scope="module", params=NETS)
def net(request, tmp_path_factory):
    """Prototxt and weights of a net with large values, as a trained one has: its name, their paths."""
    caffe.set_random_seed(5)
    made = caffe_net.load_net(NETS[request.param])
    chance = np.random.default_rng(5)
    for blobs in made.params.values():
        for blob in blobs:
            blob.data[...] += chance.normal(0, 0.02, blob.data.shape)
    weights = tmp_path_factory.mktemp(request.param) / "net.caffemodel"
    made.save(str(weights))
    return NETS[request.param], weights


@pytest.fixture(scope="module")
def images(net):
    """What the data layer feeds, float32, (16, 1, size, size)."""
    size = caffe_net.input_size(net[0])
    return np.random.default_rng(6).uniform(-1, 3, (16, 1, size, size)).astype(np.float32)


def _answers(net, images) -> np.ndarray:
    return caffe_net.forward(caffe_net.load_net(*net), images, ["prob"])[0]


def test_fast_layers_answer_as_caffes_own(net, images, monkeypatch):
    fast = _answers(net, images)
    monkeypatch.setenv("NBCAD_CAFFE_LAYERS", "stock")
    np.testing.assert_allclose(fast, _answers(net, images), **CLOSE)
    assert fast.std(axis=0).max() > 1e-3  # the answers depend on the images


def test_opencv_reads_the_files_and_answers_the_same(net, images):
    imported = cv2.dnn.readNetFromCaffe(net[0], str(net[1]))
    imported.setInput(images)
    np.testing.assert_allclose(imported.forward("prob").reshape(len(images), -1), _answers(net, images), **CLOSE)


def test_pytorch_answers_the_same(net, images):
    torch = pytest.importorskip("torch", reason="PyTorch is no dependency: install it to compare with it")
    values = caffe_net.read_weights(net[1])
    blob = torch.from_numpy(images)
    for layer in caffe_net.read_net(net[0]).layer:
        blob = _in_pytorch(torch, layer, [torch.from_numpy(np.array(v)) for v in values.get(layer.name, [])], blob)
    np.testing.assert_allclose(blob.numpy(), _answers(net, images), **CLOSE)


def _in_pytorch(torch, layer, values: list, blob):
    """What one of Caffe's layers does, written anew."""
    functions = torch.nn.functional
    if layer.type == "Convolution":
        padding = list(layer.convolution_param.pad) or [0]
        return functions.conv2d(blob, *values, padding=padding[0])
    if layer.type == "Pooling":
        pooling = layer.pooling_param
        return functions.max_pool2d(blob, pooling.kernel_size, pooling.stride, ceil_mode=True)
    if layer.type == "InnerProduct":
        return functions.linear(blob.flatten(1), *values)
    others = {
        "Input": lambda x: x,
        "Dropout": lambda x: x,  # in the test phase
        "Sigmoid": torch.sigmoid,
        "ReLU": torch.relu,
        "Softmax": lambda x: torch.softmax(x, 1),
    }
    return others[layer.type](blob)
