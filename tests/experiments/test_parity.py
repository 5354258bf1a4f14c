"""The same files give the same losses and answers in ways of training and implementations that know nothing of each
other."""

import numpy as np
import pytest

from nbcad.experiments import parity
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe
from nbcad.samples import lmdb_io

NETS = {"organ": "models/organ_net/deploy.prototxt", "stage": "models/stage_lenet5/deploy.prototxt"}


@pytest.fixture(scope="module", params=NETS)
def answers(request, tmp_path_factory):
    """Of a net with large values, as a trained one has, by each implementation."""
    deploy = NETS[request.param]
    caffe.set_random_seed(5)
    made = caffe_net.load_net(deploy)
    rng = np.random.default_rng(5)
    for blobs in made.params.values():
        for blob in blobs:
            blob.data[...] += rng.normal(0, 0.02, blob.data.shape)
    weights = tmp_path_factory.mktemp(request.param) / "net.caffemodel"
    made.save(str(weights))
    size = caffe_net.input_size(deploy)
    images = np.random.default_rng(6).uniform(-1, 3, (16, 1, size, size)).astype(np.float32)
    return parity.answers(deploy, weights, images)


@pytest.mark.parametrize("implementation", ["fast", "OpenCV", "PyTorch"])
def test_other_implementations_answer_as_caffes_own_layers(answers, implementation):
    if implementation == "PyTorch" and "PyTorch" not in answers:
        pytest.skip("PyTorch is no dependency: install it to compare with it")
    np.testing.assert_allclose(answers[implementation], answers["stock"], rtol=0, atol=parity.ANSWERS_APART)
    assert answers["stock"].std(axis=0).max() > 1e-3  # the answers depend on the images


@pytest.mark.parametrize(("net", "size", "labels"), [("organ", 64, 3), ("stage", 32, 5)])
def test_caffe_train_and_our_driver_have_the_same_losses(tmp_path, rewritten_solver, net, size, labels):
    rng = np.random.default_rng(5)
    for split in ("train", "val"):
        images, truth = rng.integers(0, 255, (40, size, size), np.uint8), rng.integers(0, labels, 40)
        lmdb_io.write(tmp_path / split, images, truth)
    edits = [(r"batch_size: 64", "batch_size: 8")]
    solver = rewritten_solver(tmp_path / "given", net, (tmp_path / "train", tmp_path / "val"), edits)
    found = parity.losses(solver, tmp_path, 20)
    expected = found.pop(parity.REFERENCE)
    assert expected.shape == (20,) and expected.std() > 0
    assert len(found) == 4
    for way, values in found.items():
        np.testing.assert_allclose(values, expected, rtol=parity.bound(way), err_msg=way)
