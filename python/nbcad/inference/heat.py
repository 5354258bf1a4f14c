"""Heat maps (paper 3, 3.1(3), 3.2: placing): the trained LeNet-5 run over whole slices."""

from pathlib import Path

import numpy as np

from nbcad.dicom import Slice
from nbcad.errors import ModelError
from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import pad_for_windows, stage_grid
from nbcad.inference.lesions import STRIDE
from nbcad.language.message import message
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import Transform, caffe
from nbcad.runtime.paths import STAGE_NET

DEPLOY = STAGE_NET / "deploy.prototxt"
FCN = STAGE_NET / "fcn.prototxt"
TRAIN_VAL = STAGE_NET / "train_val.prototxt"
SLICES_AT_ONCE = 8


def to_fully_convolutional(weights: str | Path) -> caffe.Net:
    """Load trained weights into the fully convolutional net, inner products recast as convolutions (net surgery).

    Raises:
        ModelError: the weights are missing, not a caffemodel, or belong to another net.
    """
    stored = caffe_net.read_weights(weights)
    net = caffe.Net(str(FCN), caffe.TEST)
    for name, blobs in net.params.items():
        values = stored.get(name.removesuffix("-conv"), [])
        if [value.size for value in values] != [blob.data.size for blob in blobs]:
            raise ModelError(
                message(
                    "{path}: layer {name} does not fit {net}; is it the stage net's?",
                    path=str(weights),
                    name=name.removesuffix("-conv"),
                    net=str(FCN),
                )
            )
        for blob, value in zip(blobs, values, strict=True):
            blob.data.flat = value.flat
    return net


def heat_maps(net: caffe.Net, transform: Transform, slices: list[Slice], volume: np.ndarray) -> np.ndarray:
    """Return class probabilities at places all over each slice; the net sees each slice once.

    Args:
        net: result of `to_fully_convolutional`.
        transform: of the net.
        slices: n slices of one series.
        volume: uint8, shape (n, rows, columns), enhanced, as stored.

    Returns:
        float32, shape (n, classes, height, width), of the canonically turned slices: place (i, j) lies
        i * STRIDE * STAGE_MM_PER_PIXEL mm below the upper edge, likewise from the left.
    """
    turn = Canonical.of(slices[0].geometry)
    spacing = turn.spacing(slices[0].spacing)
    heat = []
    for first in range(0, len(volume), SLICES_AT_ONCE):
        grids = [stage_grid(turn.apply(image), spacing) for image in volume[first : first + SLICES_AT_ONCE]]
        padded = np.stack([pad_for_windows(grid, STRIDE) for grid in grids])
        heat += caffe_net.forward(net, transform(padded)[:, None], ["prob"])
    return np.concatenate(heat)
