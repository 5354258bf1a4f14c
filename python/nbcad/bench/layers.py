"""Benchmark of a training iteration and an inference of both nets: the fast layers, Caffe's own, and PyTorch."""

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
from google.protobuf import text_format

from nbcad.bench import Figure
from nbcad.errors import NbcadError
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe, caffe_pb2
from nbcad.runtime.paths import ORGAN_NET, STAGE_NET

NETS = {"organ": ORGAN_NET, "stage": STAGE_NET}
ENGINES = ("fast", "stock")
VARIANTS = [f"{run}, {layout}" for run in ("eager", "compiled") for layout in ("contiguous", "channels last")]
TORCH = "torch==2.13.0"
IMAGES_A_ROUND = 2000  # ``size`` divided by this is the number of rounds
LEAST_ROUNDS = 5
WARM_UP = 2
PAUSE, TURN = 0.15, 0.4  # seconds; see `turn`
MATRIX = 2048
SOLVER = """net: "{net}" type: "SGD" momentum: 0.9 weight_decay: 0.004 base_lr: 0.0001 lr_policy: "fixed"
random_seed: 1 max_iter: 1000000 snapshot_prefix: "{net}" """
GOALS = {
    "organ_train_vs_pytorch": 1.25,
    "organ_infer_vs_pytorch": 1.0,
    "organ_train_vs_stock": 3.0,
    "organ_share_of_gemm_rate": 0.6,
    "stage_train_vs_pytorch": 1.25,
    "stage_infer_vs_pytorch": 1.0,
    "stage_train_vs_stock": 1.3,
}

Timer = Callable[[], float]  # runs one iteration and returns its seconds
_Key = TypeVar("_Key", bound=Hashable)


def measure_layers(folder: Path, size: int) -> list[Figure]:
    """Time both nets on batches of 64 random images.

    Args:
        folder: empty, for nets and solvers.
        size: one round per `IMAGES_A_ROUND`.

    Returns:
        Milliseconds of each variant, and the `GOALS`; all are medians over rounds, in each of which every variant has
        its turn.
    """
    nets = {name: without_data(path / "train_val.prototxt") for name, path in NETS.items()}
    timers = {(name, *key): timer for name in NETS for key, timer in caffe_timers(folder, name, nets[name]).items()}
    with _Peer({name: description(net) for name, net in nets.items()}) as peer:
        for name in NETS:
            for action in ("train", "infer"):
                timers |= {(name, action, variant): peer.timer(name, action, variant) for variant in VARIANTS}
        products = {("", "multiply", "PyTorch"): peer.timer("", "multiply", ""), ("", "multiply", "NumPy"): multiply}
        seconds = take_turns(timers | products, max(LEAST_ROUNDS, size // IMAGES_A_ROUND))
    return figures(seconds, {name: operations(net) for name, net in nets.items()})


def without_data(path: Path) -> caffe_pb2.NetParameter:
    """Read a net for training and put a fixed input in place of its Data layers."""
    net = text_format.Parse(path.read_text(), caffe_pb2.NetParameter())
    size = caffe_net.input_size(path.parent / "deploy.prototxt")
    kept = [copy.deepcopy(layer) for layer in net.layer if layer.type not in ("Data", "Accuracy")]
    del net.layer[:]
    data = net.layer.add(name="data", type="Input", top=["data", "label"])
    data.input_param.shape.add(dim=[caffe_net.BATCH, 1, size, size])
    data.input_param.shape.add(dim=[caffe_net.BATCH])
    net.layer.extend(kept)
    return net


def caffe_timers(folder: Path, name: str, net: caffe_pb2.NetParameter) -> dict[tuple[str, str], Timer]:
    """Return timers of a training iteration and of an inference with each of the `ENGINES`.

    Args:
        folder: for the net's and the solver's files.
        name: of the net.
        net: result of `without_data`.

    Returns:
        Timers by ("train" or "infer", engine).
    """
    path = folder / f"{name}.prototxt"
    path.write_text(text_format.MessageToString(net))
    solver_path = folder / f"{name}_solver.prototxt"
    solver_path.write_text(SOLVER.format(net=path))
    rng = np.random.default_rng(1)
    shape = tuple(net.layer[0].input_param.shape[0].dim)
    images = rng.normal(size=shape).astype(np.float32)
    timers = {}
    for engine in ENGINES:
        with chosen(engine):
            solver = caffe.get_solver(str(solver_path))
            deployed = caffe.Net(str(NETS[name] / "deploy.prototxt"), caffe.TEST)
        deployed.blobs["data"].reshape(*shape)
        deployed.reshape()
        solver.net.blobs["data"].data[...] = deployed.blobs["data"].data[...] = images
        solver.net.blobs["label"].data[...] = rng.integers(0, classes(net), shape[0])
        timers["train", engine] = _timer(partial(solver.step, 1), engine)
        timers["infer", engine] = _timer(deployed.forward, engine)
    return timers


@contextmanager
def chosen(engine: str) -> Iterator[None]:
    """Let layers and solvers use one of the `ENGINES`."""
    before = os.environ.get(caffe_net.LAYERS)
    os.environ[caffe_net.LAYERS] = engine
    try:
        yield
    finally:
        del os.environ[caffe_net.LAYERS]
        if before is not None:
            os.environ[caffe_net.LAYERS] = before


def _timer(call: Callable[[], object], engine: str) -> Timer:
    """Return a timer of a call under one of the `ENGINES`."""

    def seconds() -> float:
        with chosen(engine):  # a solver looks up its engine at each step
            started = time.perf_counter()
            call()
            return time.perf_counter() - started

    return seconds


def multiply() -> float:
    """Return the seconds for a product of two square matrices with NumPy."""
    a = b = np.ones((MATRIX, MATRIX), np.float32)
    started = time.perf_counter()
    a @ b
    return time.perf_counter() - started


def classes(net: caffe_pb2.NetParameter) -> int:
    """Return the number of outputs of the last learned layer."""
    return [layer for layer in net.layer if layer.type == "InnerProduct"][-1].inner_product_param.num_output


def description(net: caffe_pb2.NetParameter) -> dict:
    """Describe a net to `torch_peer`: shape of the batch, number of classes, and layers with their numbers."""
    _, channels, height, width = net.layer[0].input_param.shape[0].dim
    layers: list[dict] = []
    flat = False
    for layer in net.layer:
        convolution, pooling = layer.convolution_param, layer.pooling_param
        numbers: list[float] = []
        if layer.type == "Convolution":
            kernel, pad = convolution.kernel_size[0], convolution.pad[0] if convolution.pad else 0
            numbers = [channels, convolution.num_output, kernel, pad]
            channels = convolution.num_output
            height, width = (size + 2 * pad - kernel + 1 for size in (height, width))
        elif layer.type == "Pooling":
            numbers = [pooling.kernel_size, pooling.stride]
            height, width = (-(-(size - pooling.kernel_size) // pooling.stride) + 1 for size in (height, width))
        elif layer.type == "InnerProduct":
            if not flat:
                layers.append({"type": "Flatten", "numbers": []})
                channels, height, width, flat = channels * height * width, 1, 1, True
            numbers = [channels, layer.inner_product_param.num_output]
            channels = layer.inner_product_param.num_output
        elif layer.type == "Dropout":
            numbers = [layer.dropout_param.dropout_ratio]
        elif layer.type not in ("Sigmoid", "ReLU"):
            continue  # the input and the loss
        layers.append({"type": layer.type, "numbers": numbers, "out": [channels, height, width]})
    return {"shape": list(net.layer[0].input_param.shape[0].dim), "classes": classes(net), "layers": layers}


def operations(net: caffe_pb2.NetParameter) -> float:
    """Return the floating point operations of a training iteration: forward, and gradients of weights and inputs."""
    total, first = 0.0, True
    for layer in description(net)["layers"]:
        if layer["type"] not in ("Convolution", "InnerProduct"):
            continue
        channels, height, width = layer["out"]
        kernel = layer["numbers"][2] ** 2 if layer["type"] == "Convolution" else 1
        products = caffe_net.BATCH * height * width * channels * layer["numbers"][0] * kernel
        total += 2 * products * (2 if first else 3)
        first = False
    return total


def take_turns(timers: Mapping[_Key, Timer], rounds: int) -> dict[_Key, list[float]]:
    """Run all timers in rounds, each in another random order.

    Returns:
        The seconds of each timer, one value for each round.
    """
    for timer in timers.values():
        for _ in range(WARM_UP):
            timer()
    rng = np.random.default_rng(1)
    seconds: dict[_Key, list[float]] = {key: [] for key in timers}
    for _ in range(rounds):
        for key in rng.permutation(np.array([*timers, None], dtype=object)[:-1]):
            seconds[key].append(turn(timers[key]))
    return seconds


def turn(timer: Timer) -> float:
    """Return the median seconds of iterations in a row, as they are in training.

    The first iteration is left out, since it finds the data of another timer in the caches. A pause precedes it, since
    the threads of another timer's BLAS or OpenMP spin on the cores for 0.1 s.
    """
    time.sleep(PAUSE)
    timer()
    seconds = [timer()]
    while sum(seconds) < TURN:
        seconds.append(timer())
    return median(seconds)


def figures(seconds: dict[tuple[str, str, str], list[float]], work: dict[str, float]) -> list[Figure]:
    """Return medians and ratios.

    Args:
        seconds: of each round, by net, action and variant.
        work: operations of a training iteration of each net.
    """
    results = [
        Figure(f"{name} {action}: {variant}".strip(), 1e3 * median(values), "ms")
        for (name, action, variant), values in seconds.items()
    ]
    rate = 2 * MATRIX**3 / min(median(values) for key, values in seconds.items() if key[1] == "multiply")
    results.append(Figure("matrix product, the faster", rate / 1e9, "GFLOP/s"))
    ratios = {}
    for name, operations_of_net in work.items():
        for action in ("train", "infer"):
            peers = [seconds[name, action, variant] for variant in VARIANTS]
            ratios[f"{name}_{action}_vs_pytorch"] = _ratio(min(peers, key=median), seconds[name, action, "fast"])
        ratios[f"{name}_train_vs_stock"] = _ratio(seconds[name, "train", "stock"], seconds[name, "train", "fast"])
        ratios[f"{name}_share_of_gemm_rate"] = operations_of_net / median(seconds[name, "train", "fast"]) / rate
    return results + [Figure(name, ratios[name], "ratio", least=goal) for name, goal in GOALS.items()]


def _ratio(others: list[float], ours: list[float]) -> float:
    """Return the median over rounds of another's seconds relative to ours."""
    return median(other / own for other, own in zip(others, ours, strict=True))


class _Peer:
    """A process with PyTorch, in an environment of its own that is created if it is missing."""

    def __init__(self, nets: dict[str, dict]):
        self.nets = nets

    def __enter__(self) -> "_Peer":
        command = [torch_python(), Path(__file__).with_name("torch_peer.py")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._ask(self.nets)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()  # the process ends when its input is closed

    def timer(self, name: str, action: str, variant: str) -> Timer:
        """Return a timer of a net's "train" or "infer", or of "multiply", in the process."""
        return lambda: float(self._ask([name, action, variant]))

    def _ask(self, request: object) -> str:
        """Send a line and return the answer.

        Raises:
            NbcadError: the process ended.
        """
        requests, answers = self.process.stdin, self.process.stdout
        assert requests and answers
        requests.write(json.dumps(request) + "\n")
        requests.flush()
        answer = answers.readline()
        if not answer:
            raise NbcadError(f"the process with PyTorch ended at {request}; see its message above")
        return answer


def torch_folder() -> Path:
    """Return the folder of the environment of `torch_python`."""
    cache = os.environ.get("NBCAD_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nbcad"
    return Path(cache) / TORCH.replace("==", "-")


def torch_python() -> Path:
    """Return the interpreter of an environment with PyTorch in the cache, which is created if it is missing."""
    folder = torch_folder()
    python = folder / "bin" / "python"
    if not (folder / ".installed").exists():
        print(f"bench: installing {TORCH} to {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "-qq", "install", TORCH, "numpy", "setuptools"], check=True)
        (folder / ".installed").touch()
    return python
