"""The engine, BVLC Caffe through pycaffe: loading of nets, choice of the device, forward passes in batches.

Caffe ends the whole process when one of its own checks fails. Files, sizes and the device are therefore checked here
first, where an error can say what to do.
"""

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Protobuf

from nbcad.errors import DeviceError, ModelError
from nbcad.language.message import EMPTY, Message, message, verbatim
from nbcad.runtime import verbosity
from nbcad.runtime.paths import ROOT

# 2 hides Caffe's log below ERROR; Caffe reads it once, when imported.
os.environ.setdefault("GLOG_minloglevel", "0" if verbosity.verbose() else "2")

try:
    import caffe
    from caffe.proto import caffe_pb2  # without Caffe, `import caffe` alone may find the repository's folder caffe/
except ModuleNotFoundError as error:
    if error.name not in ("caffe", "caffe.proto"):
        raise
    raise ModuleNotFoundError("Caffe is not built for this Python: run `make caffe`", name="caffe") from None

BATCH = 64
LAYERS = "NBCAD_CAFFE_LAYERS"  # environment variable: "fast", which is the default, or "stock"
_Protobuf = TypeVar("_Protobuf", bound=Protobuf)


@dataclass(frozen=True)
class Transform:
    """A Data layer's ``transform_param``: (x - mean) * scale."""

    mean: float
    scale: float

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the values that Caffe's Data layer would feed for uint8 images; float32 of the same shape."""
        return (images.astype(np.float32) - np.float32(self.mean)) * np.float32(self.scale)


def software() -> dict[str, str]:
    """Return the Caffe that this process runs: its build, named by the key of caffe/build.sh, and its layers."""
    return {"Caffe": Path(caffe.__file__).resolve().parents[2].name, LAYERS: os.environ.get(LAYERS, "fast")}


def use_device(device: str) -> None:
    """Run all nets on a device from now on: ``cpu`` or ``cuda:N``.

    Raises:
        DeviceError: Caffe was built without CUDA, or the card or its driver is missing.
    """
    if device == "cpu":
        caffe.set_mode_cpu()
        return
    number = int(device.removeprefix("cuda:"))
    reason = reason_against_card(ctypes.CDLL(caffe._caffe.__file__), number)
    if reason:
        raise DeviceError(message("{device} cannot be used: {reason}; use --device cpu", device=device, reason=reason))
    caffe.set_device(number)
    caffe.set_mode_gpu()


def reason_against_card(library: ctypes.CDLL, number: int) -> Message:
    """Return why a card cannot be used, or an empty message if nothing speaks against it.

    Args:
        library: pycaffe's library; it leads to the CUDA runtime that Caffe is linked with.
        number: of the card, from 0.
    """
    if not hasattr(library, "cudaGetDeviceCount"):
        return message("this build of Caffe has no CUDA (`CAFFE_CUDA=1 make caffe` makes one)")
    driver, cards = ctypes.c_int(), ctypes.c_int()
    library.cudaDriverGetVersion(ctypes.byref(driver))
    if driver.value == 0:
        return message("there is no NVIDIA driver (a container needs `--gpus all`)")
    status = library.cudaGetDeviceCount(ctypes.byref(cards))
    if status != 0:
        library.cudaGetErrorString.restype = ctypes.c_char_p
        return message("the NVIDIA driver says: {error}", error=library.cudaGetErrorString(status).decode())
    if number >= cards.value:
        return message("the number of NVIDIA cards is {count}, and they are counted from 0", count=cards.value)
    return EMPTY


def parse(path: str | Path, content: _Protobuf) -> _Protobuf:
    """Fill a Caffe protobuf message from a prototxt.

    Raises:
        ModelError: the file is missing or malformed; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(
            message("{path} does not exist; a path inside a prototxt starts at {root}", path=str(path), root=str(ROOT))
        )
    try:
        return text_format.Parse(path.read_text(), content)
    except text_format.ParseError as error:
        raise ModelError(verbatim(f"{path}:{error}")) from error


def read_net(path: str | Path) -> caffe_pb2.NetParameter:
    """Parse a net's prototxt."""
    return parse(path, caffe_pb2.NetParameter())


def read_solver(path: str | Path) -> caffe_pb2.SolverParameter:
    """Parse a solver's prototxt."""
    return parse(path, caffe_pb2.SolverParameter())


def transform_of(train_val: str | Path) -> Transform:
    """Return the scale and mean that a net was trained with, from the Data layer of its TEST phase.

    Raises:
        ModelError: the file is missing or malformed, or has no such layer.
    """
    for layer in read_net(train_val).layer:
        if layer.type == "Data" and any(rule.phase == caffe_pb2.TEST for rule in layer.include):
            mean = layer.transform_param.mean_value
            return Transform(mean[0] if mean else 0.0, layer.transform_param.scale)
    raise ModelError(message("{path} has no Data layer for the TEST phase", path=str(train_val)))


def is_included(layer: caffe_pb2.LayerParameter, state: caffe_pb2.NetState) -> bool:
    """Return whether Caffe keeps a layer in a phase and its stages, by the layer's ``include`` rules."""
    return not layer.include or any(
        (not rule.HasField("phase") or rule.phase == state.phase)
        and set(rule.stage) <= set(state.stage)
        and not set(rule.not_stage) & set(state.stage)
        for rule in layer.include
    )


def input_size(deploy: str | Path) -> int:
    """Return the side of a deploy net's square input, in pixels.

    Raises:
        ModelError: the file is missing or malformed, or has no Input layer.
    """
    for layer in read_net(deploy).layer:
        if layer.type == "Input":
            return layer.input_param.shape[0].dim[3]
    raise ModelError(message("{path} has no Input layer", path=str(deploy)))


def load_net(prototxt: str | Path, weights: str | Path | None = None) -> caffe.Net:
    """Load a deploy net for inference; without ``weights`` it holds the values of its fillers.

    Raises:
        ModelError: a file is missing or malformed, or the weights have other shapes than the net.
    """
    prototxt = Path(prototxt)
    layers = {layer.name for layer in read_net(prototxt).layer}
    if weights is None:
        return caffe.Net(str(prototxt), caffe.TEST)
    stored = read_weights(weights)
    if not layers & set(stored):
        raise ModelError(message("{path} holds no layer of {net}", path=str(weights), net=str(prototxt)))
    net = caffe.Net(str(prototxt), caffe.TEST)
    for name, blobs in net.params.items():
        shapes = [tuple(blob.data.shape) for blob in blobs]
        found = [blob.shape for blob in stored.get(name, [])]
        if shapes != found:
            raise ModelError(
                message(
                    "{path}: layer {name} has shapes {found}, {net} needs {wanted}",
                    path=str(weights),
                    name=name,
                    found=str(found),
                    net=str(prototxt),
                    wanted=str(shapes),
                )
            )
        for blob, value in zip(blobs, stored[name], strict=True):
            blob.data[...] = value
    return net


def read_weights(path: str | Path) -> dict[str, list[np.ndarray]]:
    """Read the learned blobs of a caffemodel by layer name, as float32.

    Raises:
        ModelError: the file is missing or truncated, or is not a caffemodel.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(
            message("weights {path} do not exist; train first (make train-organ, make train-stage)", path=str(path))
        )
    content = caffe_pb2.NetParameter()
    try:
        content.ParseFromString(path.read_bytes())
        weights = {
            layer.name: [np.asarray(b.data, np.float32).reshape(tuple(b.shape.dim)) for b in layer.blobs]
            for layer in content.layer
            if layer.blobs
        }
    except (DecodeError, ValueError) as error:
        raise ModelError(
            message("{path} is not a valid caffemodel: {error}", path=str(path), error=str(error))
        ) from error
    if not weights:
        raise ModelError(message("{path} holds no learned layer", path=str(path)))
    return weights


def forward(net: caffe.Net, inputs: np.ndarray, blobs: list[str]) -> list[np.ndarray]:
    """Run a net over many inputs, in batches of at most `BATCH`.

    Args:
        net: a net with one input blob, ``data``.
        inputs: float32, shape (n, channels, height, width), already transformed.
        blobs: names of the blobs to return.

    Returns:
        For each blob an array of shape (n, ...).
    """
    found: list[list[np.ndarray]] = [[] for _ in blobs]
    for first in range(0, len(inputs), BATCH):
        batch = inputs[first : first + BATCH]
        if net.blobs["data"].data.shape != batch.shape:
            net.blobs["data"].reshape(*batch.shape)
            net.reshape()
        net.blobs["data"].data[...] = batch
        net.forward()
        for values, name in zip(found, blobs, strict=True):
            values.append(net.blobs[name].data.copy())
    return [np.concatenate(values) if values else np.empty((0,), np.float32) for values in found]
