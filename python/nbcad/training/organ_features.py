"""Features of the organ net for the samples of an LMDB, computed once and kept beside the net."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from nbcad.errors import ModelError
from nbcad.inference.organ import DEPLOY, TRAIN_VAL, extract_features
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe
from nbcad.runtime import machine
from nbcad.runtime.parallel import Map

SLICES_A_PART = 8 * caffe_net.BATCH  # whole batches: then the division into parts changes no bit of a feature


@dataclass(frozen=True)
class _Part:
    """Some slices whose features are to be computed."""

    weights: Path
    weights_sha256: str  # a worker that lives on must not use the net of an earlier training
    device: str
    images: np.ndarray
    blob: str


def features_of(weights: Path, device: str, images: np.ndarray, blob: str, map_: Map) -> np.ndarray:
    """Compute the features of a trained net's file, in parts, wherever ``map_`` computes; see `extract_features`.

    Args:
        weights: caffemodel of the organ net.
        device: "cpu" or "cuda:N".
        images: uint8, shape (n, size, size).
        blob: "fc7" or "pool3".
        map_: each of its processes loads the net once.

    Returns:
        float32, shape (n, d).

    Raises:
        ModelError: the weights do not fit the net.
        DeviceError: the device cannot be used.
        WorkerError: see `parallel.Map`.
    """
    digest = machine.sha256([weights])
    parts = (
        _Part(weights.absolute(), digest, device, images[first : first + SLICES_A_PART], blob)
        for first in range(0, len(images), SLICES_A_PART)
    )
    return np.concatenate(list(map_(_features, parts)))


def _features(part: _Part) -> np.ndarray:
    """Compute the features of one part."""
    net = _kept_net(part.weights, part.weights_sha256, part.device)
    return extract_features(net, caffe_net.transform_of(TRAIN_VAL), part.images, part.blob)


@lru_cache(maxsize=1)
def _kept_net(weights: Path, sha256: str, device: str) -> caffe.Net:
    """Load a net, or return the one that this process loaded last.

    Raises:
        ModelError: the file is not the one with this hash.
        DeviceError: the device cannot be used.
    """
    if machine.sha256([weights]) != sha256:
        raise ModelError(f"{weights} is not the same file for all workers")
    caffe_net.use_device(device)
    return caffe_net.load_net(DEPLOY, weights)
