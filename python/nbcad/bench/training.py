"""Benchmark of a training iteration of the shipped nets, fed from LMDB, beside one with a fixed input."""

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
ITERATIONS = 10  # of one turn
SIZE_OF_AN_ITERATION = 400  # ``size`` divided by this is the number of iterations, in turns of `ITERATIONS`
LEAST_ROUNDS = 5
HELD_UP = 1.05


def measure_iterations(folder: Path, size: int) -> list[Figure | Curve]:
    """Time both nets with their shipped Data layers, and with the same batch in every iteration.

    Args:
        folder: empty, for nets and solvers.
        size: one round of each net per `SIZE_OF_AN_ITERATION` times `ITERATIONS`.

    Returns:
        Milliseconds, medians over rounds in each of which every way has its turn; the time from LMDB relative to that
        of a fixed input; and milliseconds an image by size of the batch.
    """
    timers = {}
    for name, path in NETS.items():
        timers[name, "LMDB"] = timer(folder / f"{name}_lmdb", caffe_net.read_net(path / "train_val.prototxt"))
        timers[name, "fixed"] = timer(folder / f"{name}_fixed", without_data(path / "train_val.prototxt"))
    seconds = take_turns(timers, max(LEAST_ROUNDS, size // (ITERATIONS * SIZE_OF_AN_ITERATION)))
    results = []
    for name in NETS:
        lmdb, fixed = seconds[name, "LMDB"], seconds[name, "fixed"]
        ratio = median(from_lmdb / from_memory for from_lmdb, from_memory in zip(lmdb, fixed, strict=True))
        results += [
            Figure(f"{name}: iteration from LMDB", 1e3 * median(lmdb), "ms"),
            Figure(f"{name}: iteration with a fixed input", 1e3 * median(fixed), "ms"),
            Figure(f"{name}: the first relative to the second", ratio, "", HELD_UP),
        ]
    return [*results, over_batch(folder)]


def timer(stem: Path, net: caffe_pb2.NetParameter) -> Timer:
    """Return a timer of training iterations.

    Args:
        stem: path of the net's and the solver's files, without their suffix.
        net: the net to train.
    """
    net_path, solver_path = stem.with_suffix(".prototxt"), stem.with_suffix(".solver")
    net_path.write_text(text_format.MessageToString(net))
    never_tested = f"test_iter: 1 test_interval: {NEVER} test_initialization: false"  # a net with two phases needs it
    solver_path.write_text(SOLVER.format(net=from_root(net_path)) + never_tested)
    with at_root():
        return partial(iteration_s, caffe.get_solver(from_root(solver_path)))


def iteration_s(solver: caffe.SGDSolver) -> float:
    """Return the seconds of a training iteration, the mean of `ITERATIONS`."""
    started = time.perf_counter()
    solver.step(ITERATIONS)
    return (time.perf_counter() - started) / ITERATIONS


def over_batch(folder: Path) -> Curve:
    """Measure the milliseconds an image, in training and in inference, by size of the batch."""
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
            for way, time_once in ways.items():
                time_once()
                seconds = median(time_once() for _ in range(3))
                lines.setdefault(f"{name}, {way}", []).append((batch, 1e3 * seconds / batch))
    return Curve("batch", "images of a batch", "ms an image", lines)


def forward_s(net: caffe.Net) -> float:
    """Return the seconds of an inference, the mean of `ITERATIONS`."""
    started = time.perf_counter()
    for _ in range(ITERATIONS):
        net.forward()
    return (time.perf_counter() - started) / ITERATIONS
