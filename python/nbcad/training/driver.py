"""Train any Caffe solver whose net reads LMDBs: Caffe's own solver takes every step, this driver watches it.

What the driver adds to ``caffe train``: progress and ETA, a log and curves, sound snapshots, resuming, provenance.
"""

import csv
import hashlib
import math
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from nbcad.errors import ModelError, OutputExistsError
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe, caffe_pb2
from nbcad.runtime.files import replacing_file
from nbcad.runtime.json_file import write_json
from nbcad.runtime.paths import RUNS, at_root, from_root
from nbcad.runtime.progress import progress
from nbcad.samples import lmdb_io
from nbcad.training.learning_curves import LOG_HEADER, LogRow, plot_curves, read_log
from nbcad.training.record import RUN, TrainingRecord, begin_record
from nbcad.training.snapshots import check_room, restore_newest, write_snapshot

LOG, WEIGHTS = "log.csv", "final.caffemodel"
NEVER = 2**31 - 1
_OF_LABELS = ("SoftmaxWithLoss", "Accuracy")  # layers of scores and labels


@dataclass
class Result:
    """The results of a training."""

    iteration: int
    finished: bool
    signal: int | None  # that ended it early
    weights: Path | None
    log: list[LogRow]


def train(
    solver_file: str | Path,
    run: str | Path,
    device: str = "cpu",
    max_iter: int | None = None,
    resume: bool = False,
    force: bool = False,
) -> Result:
    """Train a solver and leave log, curves, snapshots, weights and provenance in ``run``.

    SIGINT and SIGTERM end the training after the step under way, with a snapshot.

    Args:
        solver_file: prototxt; the paths in it and in its net are relative to the repository's root.
        run: folder of the results.
        device: "cpu" or "cuda:N".
        max_iter: instead of the solver's.
        resume: go on from the newest sound snapshot in ``run``.
        force: throw away what stands in ``run``.

    Raises:
        OutputExistsError: ``run`` holds a training, and neither ``resume`` nor ``force`` was given.
        ModelError: solver or net is malformed, an LMDB has labels that the net has no output for, or the loss is no
            longer finite.
        OutputError: there is no room for a snapshot or the weights.
        DatabaseError: an LMDB of the net is missing.
    """
    run = Path(run)
    solver_file, run_there = from_root(solver_file), Path(from_root(run))
    with at_root():
        result = _train(solver_file, run_there, device, max_iter, resume, force)
    if result.finished:
        result.weights = run / WEIGHTS
    return result


def _train(solver_file: str, run: Path, device: str, max_iter: int | None, resume: bool, force: bool) -> Result:
    """Train as `train` says; all paths are relative to the repository's root, which is the working directory."""
    given = caffe_net.read_solver(solver_file)
    lmdbs = _data_sources(given)
    fingerprints = {source: lmdb_io.fingerprint(source) for source in lmdbs}
    caffe_net.use_device(device)
    _check_labels(given)
    _prepare_folder(run, resume, force)
    solver = _make_solver(given, run, device, max_iter)
    log: list[LogRow] = []
    if resume:
        restore_newest(solver, run)
        log = read_log(run / LOG, solver.iter)
    record = begin_record(solver_file, given, fingerprints, device, solver.iter)
    result = _solve(solver, given, run, max_iter or given.max_iter, log)
    plot_curves(result.log, run / "curves.png", title=solver_file)
    if result.finished:
        result.weights = run / WEIGHTS
        with replacing_file(result.weights) as temporary:
            check_room(solver, run)
            solver.net.save(str(temporary))
    _write_record(run, record, result)
    return result


def _data_sources(solver: caffe_pb2.SolverParameter) -> list[str]:
    """Return the LMDBs that Caffe will open: those of the net's Data layers in training or testing."""
    if not solver.net:
        raise ModelError("the solver names no net")
    states = _states(solver)
    layers = [layer for layer in caffe_net.read_net(solver.net).layer if layer.type == "Data"]
    return [layer.data_param.source for layer in layers if any(caffe_net.is_included(layer, s) for s in states)]


def _states(solver: caffe_pb2.SolverParameter) -> list[caffe_pb2.NetState]:
    """Return the states in which the net is trained and tested."""
    train = caffe_pb2.NetState(phase=caffe_pb2.TRAIN, stage=solver.train_state.stage)
    tests = [caffe_pb2.NetState(phase=caffe_pb2.TEST, stage=state.stage) for state in solver.test_state]
    return [train, *(tests or [caffe_pb2.NetState(phase=caffe_pb2.TEST)])]


def _check_labels(solver: caffe_pb2.SolverParameter) -> None:
    """Refuse labels without an output: Caffe's softmax loss would read and write beyond its blobs and say nothing.

    Raises:
        ModelError: see `train`.
    """
    ranges: dict[str, tuple[int, int]] = {}
    for state in _states(solver):
        layers = [layer for layer in caffe_net.read_net(solver.net).layer if caffe_net.is_included(layer, state)]
        sources = {layer.top[1]: layer.data_param.source for layer in layers if layer.type == "Data" and layer.top[1:]}
        net = caffe.Net(solver.net, state.phase, stages=list(state.stage))
        for layer in layers:
            if layer.type not in _OF_LABELS or layer.bottom[1] not in sources:
                continue
            source, outputs = sources[layer.bottom[1]], net.blobs[layer.bottom[0]].shape[1]
            if source not in ranges:
                ranges[source] = lmdb_io.label_range(source)
            low, high = ranges[source]
            if low < 0 or high >= outputs:
                raise ModelError(
                    f"LMDB {source} has labels from {low} to {high}, but {solver.net} has {outputs} outputs; its last "
                    "num_output must be the number of names in the label file (config/labels)"
                )


def _prepare_folder(run: Path, resume: bool, force: bool) -> None:
    old = [p for p in run.iterdir() if p.is_file() and _is_ours(p.name)] if run.is_dir() else []
    if resume or not old:
        run.mkdir(parents=True, exist_ok=True)
        return
    if not force:
        raise OutputExistsError(f"{run} holds a training already; give --resume to go on or --force to start again")
    for path in old:
        path.unlink()


def _is_ours(name: str) -> bool:
    return bool(
        re.fullmatch(r"log\.csv|curves\.png|run\.json|solver\.prototxt|final\.caffemodel|iter_\d+\..*|\.tmp_.*", name)
    )


def _make_solver(given: caffe_pb2.SolverParameter, run: Path, device: str, max_iter: int | None) -> caffe.SGDSolver:
    """Return Caffe's solver with the given numbers; only testing and snapshots are left to the driver."""
    used = caffe_pb2.SolverParameter()
    used.CopyFrom(given)
    used.max_iter = max_iter or given.max_iter
    used.snapshot, used.snapshot_prefix = 0, str(run / ".tmp")
    used.test_interval, used.test_initialization, used.display = NEVER, False, 0
    used.solver_mode = used.CPU if device == "cpu" else used.GPU
    if device != "cpu":
        used.device_id = int(device.removeprefix("cuda:"))
    path = run / "solver.prototxt"
    path.write_text(str(used))
    return caffe.get_solver(str(path))


def _solve(
    solver: caffe.SGDSolver, given: caffe_pb2.SolverParameter, run: Path, max_iter: int, log: list[LogRow]
) -> Result:
    display, losses = given.display or 10, []
    before = log[-1].seconds if log else 0.0
    started = time.monotonic()
    with (
        _stop_signals() as stopped,
        progress(total=max_iter, initial=solver.iter, desc=_named(run), unit="it") as bar,
        (run / LOG).open("w", newline="") as file,
    ):
        writer = csv.DictWriter(file, LOG_HEADER)
        writer.writeheader()
        writer.writerows(map(asdict, log))
        while solver.iter < max_iter and not stopped:
            rate = solver.lr
            solver.step(1)
            losses.append(float(solver.net.blobs["loss"].data))
            _refuse_infinite(losses[-1], solver.iter)
            last = solver.iter == max_iter
            tested = given.test_interval and (solver.iter % given.test_interval == 0 or last) and len(solver.test_nets)
            if tested or last or solver.iter % display == 0:
                means = _test(solver, given.test_iter[0]) if tested else {}
                _refuse_infinite(means.get("loss", 0.0), solver.iter)
                row = LogRow(
                    iteration=solver.iter,
                    learning_rate=float(f"{rate:.6g}"),  # Caffe's is a float32
                    train_loss=float(np.mean(losses)),
                    test_loss=means.get("loss"),
                    test_accuracy=means.get("accuracy"),
                    seconds=round(before + time.monotonic() - started, 2),
                )
                losses = []
                log.append(row)
                writer.writerow(asdict(row))
                file.flush()
                bar.set_postfix(loss=f"{row.train_loss:.3f}", lr=f"{rate:.0e}", refresh=False)
            if given.snapshot and (solver.iter % given.snapshot == 0 or last):
                write_snapshot(solver, run)
            bar.update()
    finished = solver.iter >= max_iter
    if not finished:
        write_snapshot(solver, run)
    return Result(solver.iter, finished, stopped[0] if stopped else None, None, log)


def _refuse_infinite(loss: float, iteration: int) -> None:
    if not math.isfinite(loss):
        raise ModelError(f"the loss is {loss} at iteration {iteration}; lower base_lr")


def _named(run: Path) -> str:
    """Return a short name that tells a run from its neighbours: below the repository's runs/ its path there."""
    run = run.absolute()
    return str(run.relative_to(RUNS)) if run.is_relative_to(RUNS) else run.name


def _test(solver: caffe.SGDSolver, batches: int) -> dict[str, float]:
    """Means over some batches of those of ``loss`` and ``accuracy`` that the net gives."""
    net = solver.test_nets[0]
    net.share_with(solver.net)
    names = [name for name in ("loss", "accuracy") if name in net.outputs]
    values = []
    for _ in range(batches):
        outputs = net.forward()  # views of Caffe's memory, overwritten by the next batch
        values.append([float(outputs[name]) for name in names])
    return dict(zip(names, np.mean(values, axis=0).tolist(), strict=True))


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; yields the list of those that came."""
    came: list[int] = []
    old = {s: signal.signal(s, lambda number, _: came.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _write_record(run: Path, record: TrainingRecord, result: Result) -> None:
    sha256 = dict(record.sha256)
    if result.weights:
        sha256[result.weights.name] = hashlib.sha256(result.weights.read_bytes()).hexdigest()
    last = asdict(result.log[-1]) if result.log else {}
    write_json(
        replace(record, sha256=sha256, iteration=result.iteration, finished=result.finished, last=last), run / RUN
    )
