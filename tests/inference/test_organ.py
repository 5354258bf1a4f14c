"""Regions of slices, by the organ net's features and the SVM."""

import dataclasses

import numpy as np
import pytest

from nbcad.errors import ModelError
from nbcad.inference import organ
from nbcad.nets import caffe_net


def test_svm_sorts_features_into_regions(svm, clouds):
    features, labels, _ = clouds
    regions, probabilities = svm.classify(features)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.mean([svm.labels[label] == region for label, region in zip(labels, regions, strict=True)]) > 0.95


def test_slice_unlike_any_region_is_other(svm):
    far = np.full((1, 6), 40, np.float32)
    between = 4 / 3 * np.eye(3, 6).sum(axis=0, keepdims=True)
    assert svm.classify(far)[0] == ["other"]
    strict = dataclasses.replace(svm.thresholds, probability=0.99)
    assert dataclasses.replace(svm, thresholds=strict).classify(between)[0] == ["other"]


def test_saved_svm_gives_the_same_probabilities(svm, clouds, tmp_path):
    organ.save(svm, tmp_path)
    loaded = organ.load(tmp_path)
    for old, new in zip(svm.classify(clouds[0]), loaded.classify(clouds[0]), strict=True):
        np.testing.assert_array_equal(old, new)
    assert (loaded.blob, loaded.labels, loaded.fit) == (svm.blob, svm.labels, svm.fit)


def test_damaged_or_missing_svm_is_one_error(svm, tmp_path):
    with pytest.raises(ModelError, match="make train-organ"):
        organ.load(tmp_path)
    organ.save(svm, tmp_path)
    (tmp_path / "svm.skops").write_bytes(b"PK\x05\x06 no zip")
    with pytest.raises(ModelError, match="cannot be read"):
        organ.load(tmp_path)


@pytest.mark.parametrize(("blob", "length"), [("fc7", 1024), ("pool3", 4096)])
def test_features_are_the_nets_blob_rasterised_whatever_the_batch(blob, length, rng):
    net, transform = caffe_net.load_net(organ.DEPLOY), caffe_net.transform_of(organ.TRAIN_VAL)
    images = rng.integers(0, 255, (70, 64, 64), dtype=np.uint8)  # more than one batch
    features = organ.extract_features(net, transform, images, blob)
    assert features.shape == (70, length)
    alone = organ.extract_features(net, transform, images[66:67], blob)
    np.testing.assert_allclose(features[66:67], alone, atol=1e-5)
