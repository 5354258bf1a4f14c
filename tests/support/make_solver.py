"""A solver on random images, and what it learns."""

import numpy as np
from google.protobuf import text_format

from nbcad.bench.layers import NETS, without_data
from nbcad.nets.caffe_net import caffe


def solver_of(name: str, batch: int, rate: float, folder):
    """A solver of a net on random images."""
    net = without_data(NETS[name] / "train_val.prototxt")
    for shape in net.layer[0].input_param.shape:
        shape.dim[0] = batch
    (folder / "net.prototxt").write_text(text_format.MessageToString(net))
    (folder / "solver.prototxt").write_text(
        f'net: "{folder}/net.prototxt" type: "SGD" momentum: 0.9 weight_decay: 0.004 base_lr: {rate} '
        f'lr_policy: "fixed" random_seed: 1 max_iter: 1000 snapshot_prefix: "{folder}/own"'
    )
    solver = caffe.get_solver(str(folder / "solver.prototxt"))
    rng = np.random.default_rng(0)
    solver.net.blobs["data"].data[...] = rng.normal(size=solver.net.blobs["data"].data.shape)
    solver.net.blobs["label"].data[...] = rng.integers(0, 3, batch)
    return solver


def joined(net: caffe.Net, part: str) -> dict[str, np.ndarray]:
    """A layer's weights and biases in one."""
    return {
        name: np.concatenate([getattr(each, part).ravel() for each in own]).copy() for name, own in net.params.items()
    }
