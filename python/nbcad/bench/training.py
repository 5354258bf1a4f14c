"""A training iteration of the shipped nets, fed by LMDB, beside one of a fixed input."""

import time
from functools import partial
from pathlib import Path
from statistics import median

from google.protobuf import text_format

from nbcad.bench import Curve, Figure
from nbcad.bench.layers import NETS, SOLVER, Timer, take_turns, without_data
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe, caffe_pb2
from nbcad.runtime.paths import at_root, from_root
from nbcad.training.driver import NEVER

BATCHES = (1, 4, 16, 64, 256)
ITERATIONS = 10  # of a turn
ITERATIONS_A_SIZE = 400  # of ``size`` for each turn beyond the least
LEAST_ROUNDS = 5
HELD_UP = 1.05


def measure(folder: Path, size: int) -> list[Figure | Curve]:
    """Time both nets with their shipped Data layers and with the same batch again and again.

    Args:
        folder: an empty one for nets and solvers.
        size: a round of each net for every thousand.

    Returns:
        Milliseconds, medians over rounds in each of which every way had its turn; how many times longer an iteration
        with LMDB takes; and milliseconds an image over the batch.
    """
    timers = {}
    for name, path in NETS.items():
        timers[name, "LMDB"] = timer(folder / f"{name}_lmdb", caffe_net.read_net(path / "train_val.prototxt"))
        timers[name, "fixed"] = timer(folder / f"{name}_fixed", without_data(path / "train_val.prototxt"))
    seconds = take_turns(timers, max(LEAST_ROUNDS, size // (ITERATIONS * ITERATIONS_A_SIZE)))
    found = []
    for name in NETS:
        lmdb, fixed = seconds[name, "LMDB"], seconds[name, "fixed"]
        ratio = median(one / other for one, other in zip(lmdb, fixed, strict=True))
        found += [
            Figure(f"{name}: an iteration fed by LMDB", 1e3 * median(lmdb), "ms"),
            Figure(f"{name}: an iteration of a fixed input", 1e3 * median(fixed), "ms"),
            Figure(f"{name}: the first in times of the second", ratio, "", HELD_UP),
        ]
    return [*found, over_batch(folder)]


def timer(stem: Path, net: caffe_pb2.NetParameter) -> Timer:
    """What takes some training iterations and gives the seconds of one."""
    net_path, solver_path = stem.with_suffix(".prototxt"), stem.with_suffix(".solver")
    net_path.write_text(text_format.MessageToString(net))
    never_tested = f"test_iter: 1 test_interval: {NEVER} test_initialization: false"  # a net of two phases asks for it
    solver_path.write_text(SOLVER.format(net=from_root(net_path)) + never_tested)
    with at_root():
        return partial(iteration_s, caffe.get_solver(from_root(solver_path)))


def iteration_s(solver: caffe.SGDSolver) -> float:
    """Seconds of a training iteration, the mean of a few."""
    started = time.perf_counter()
    solver.step(ITERATIONS)
    return (time.perf_counter() - started) / ITERATIONS


def over_batch(folder: Path) -> Curve:
    """Milliseconds an image, in training and in inference, over the batch."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for name, path in NETS.items():
        deployed = caffe.Net(str(path / "deploy.prototxt"), caffe.TEST)
        for batch in BATCHES:
            net = without_data(path / "train_val.prototxt")
            for shape in net.layer[0].input_param.shape:
                shape.dim[0] = batch
            deployed.blobs["data"].reshape(batch, *deployed.blobs["data"].shape[1:])
            ways: dict[str, Timer] = {
                "training": timer(folder / f"{name}_{batch}", net),
                "inference": partial(forward_s, deployed),
            }
            for way, once in ways.items():
                once()
                seconds = median(once() for _ in range(3))
                lines.setdefault(f"{name}, {way}", []).append((batch, 1e3 * seconds / batch))
    return Curve("batch", "images of a batch", "ms an image", lines)


def forward_s(net: caffe.Net) -> float:
    """Seconds of an inference, the mean of a few."""
    started = time.perf_counter()
    for _ in range(ITERATIONS):
        net.forward()
    return (time.perf_counter() - started) / ITERATIONS
