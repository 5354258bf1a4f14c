"""Parity of several ways to train and run the same files.

Trainings by ``caffe train`` and by our driver, with Caffe's own layers and with the fast ones, must agree. So must the
answers of the trained nets in OpenCV and PyTorch, which share no layer with Caffe.
"""

import csv
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import cv2
import numpy as np
from google.protobuf import text_format

from nbcad.bench.layers import chosen, torch_folder
from nbcad.errors import ModelError
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe_pb2
from nbcad.runtime.paths import ROOT, from_root

if TYPE_CHECKING:
    from torch import Tensor


ENGINES = ("stock", "fast")
REFERENCE = "caffe train, stock layers"
OTHER_KERNEL = "caffe train, stock layers, another BLAS kernel"
SAME_SUMS_APART = 1e-5  # relative, of a loss: `caffe train` prints six digits
# Sums of the same products in another order differ in the last bit. Where the two largest values in a pooling window
# are that close, the gradient takes another path. Some twenty iterations agree to 1e-5; after that, losses differ as
# much as those of the stock layers do under another BLAS kernel.
OTHER_SUMS_APART = 1e-3
ANSWERS_APART = 1e-4
_LOSS = re.compile(r"Iteration \d+ \([^)]*\), loss = (\S+)")  # `caffe train` on stderr


def losses(solver_file: str | Path, folder: Path, iterations: int) -> dict[str, np.ndarray]:
    """Train in each way, with one BLAS thread, and return the training loss of each iteration.

    Args:
        solver_file: prototxt; its numbers are used, but the test phase is left out.
        folder: for the files of the trainings.
        iterations: number of iterations.

    Returns:
        float64 of shape (iterations,) for `REFERENCE`, our driver and the fast layers; and for the stock layers on the
        BLAS kernel of another processor, which shows how much the order of sums matters.

    Raises:
        ModelError: a training failed; the message has its last line.
    """
    solver = caffe_net.read_solver(solver_file)
    solver.max_iter, solver.display, solver.snapshot, solver.test_initialization = iterations, 1, 0, False
    solver.test_interval = iterations + 1
    solver.snapshot_prefix = from_root(folder / "stock")
    path = folder.absolute() / "solver.prototxt"
    path.write_text(text_format.MessageToString(solver))
    stock_caffe = [Path(sys.executable).parent / "caffe", "train", f"--solver={path}"]
    losses_of = {}
    for way, engine, kernel in (
        (REFERENCE, "stock", {}),
        (OTHER_KERNEL, "stock", {"OPENBLAS_CORETYPE": "Sandybridge"}),
        ("caffe train, fast layers", "fast", {}),
    ):
        output = _run(stock_caffe, engine, kernel)
        losses_of[way] = [float(loss) for loss in _LOSS.findall(output)][:iterations]
    for engine in ENGINES:
        run = path.with_name(engine)
        _run([sys.executable, "-m", "nbcad", "train", "--solver", path, "--run", run], engine, {})
        with (run / "log.csv").open(newline="") as file:
            losses_of[f"nbcad train, {engine} layers"] = [float(row["train_loss"]) for row in csv.DictReader(file)]
    return {way: np.array(values) for way, values in losses_of.items()}


def bound(way: str) -> float:
    """Return how far the losses of a way may lie from those of `REFERENCE`, relative to them."""
    return OTHER_SUMS_APART if way == OTHER_KERNEL or "fast" in way else SAME_SUMS_APART


def _run(command: list, engine: str, environment: dict[str, str]) -> str:
    """Run a command with one kind of layers, in the folder that paths in a prototxt are relative to.

    Returns:
        The command's stderr.

    Raises:
        ModelError: the command failed.
    """
    given = {caffe_net.LAYERS: engine, "OPENBLAS_NUM_THREADS": "1", "GLOG_minloglevel": "0"}
    environment = os.environ | given | environment
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    if done.returncode != 0:
        raise ModelError(f"{Path(command[0]).name} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return done.stderr


def answers(deploy: str | Path, weights: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Run a trained net in each implementation; in PyTorch if it is installed or `make bench` has installed it.

    Args:
        deploy: prototxt of the net.
        weights: caffemodel.
        images: float32, shape (n, 1, size, size), as the Data layer feeds them.

    Returns:
        Probabilities of shape (n, classes) for "stock", "fast", "OpenCV" and perhaps "PyTorch".
    """
    probabilities = {}
    for engine in ENGINES:
        with chosen(engine):
            probabilities[engine] = caffe_net.forward(caffe_net.load_net(deploy, weights), images, ["prob"])[0]
    imported = cv2.dnn.readNetFromCaffe(str(deploy), str(weights))
    imported.setInput(images)
    probabilities["OpenCV"] = imported.forward("prob").reshape(len(images), -1)
    torch = _pytorch()
    return probabilities | ({"PyTorch": _in_pytorch(torch, deploy, weights, images)} if torch else {})


def _pytorch() -> ModuleType | None:
    """Import PyTorch from this environment or from that of `nbcad.bench.layers`; None if neither has it."""
    sys.path.extend(map(str, torch_folder().glob("lib/python*/site-packages")))
    try:
        return importlib.import_module("torch")
    except ImportError:
        return None


def _in_pytorch(torch: ModuleType, deploy: str | Path, weights: Path, images: np.ndarray) -> np.ndarray:
    """Run a trained net on images in PyTorch; shape (n, classes)."""
    values = caffe_net.read_weights(weights)
    blob = torch.from_numpy(images)
    for layer in caffe_net.read_net(deploy).layer:
        blob = _layer_in_pytorch(torch, layer, [torch.from_numpy(v.copy()) for v in values.get(layer.name, [])], blob)
    return blob.numpy()


def _layer_in_pytorch(
    torch: ModuleType, layer: caffe_pb2.LayerParameter, values: "list[Tensor]", blob: "Tensor"
) -> "Tensor":
    """Run one layer as Caffe does in the test phase, implemented independently of Caffe."""
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
        "Dropout": lambda x: x,
        "Sigmoid": torch.sigmoid,
        "ReLU": torch.relu,
        "Softmax": lambda x: torch.softmax(x, 1),
    }
    return others[layer.type](blob)
