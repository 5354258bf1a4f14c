"""Repeat a training from its run.json alone, and compare the weights byte for byte."""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from threadpoolctl import threadpool_limits

from nbcad.errors import DatabaseError, InputError, ModelError
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe_pb2
from nbcad.runtime.files import existing
from nbcad.runtime.json_file import as_json, read_json
from nbcad.runtime.paths import ROOT, at_root, from_root
from nbcad.samples import lmdb_io
from nbcad.training.driver import WEIGHTS, train
from nbcad.training.record import Surroundings, TrainingRecord, surroundings


@dataclass
class Reproduction:
    """What a second training gave."""

    equal: bool  # whether the weights are the same bytes
    difference: float | None  # the largest, as a share of the largest weight of its blob; None: nothing to compare with


def changes(record_file: str | Path) -> list[str]:
    """What is not as it was when a run.json was written, a line each: the weights may be other ones for it.

    Net and solver are trained as the record holds them, whatever has become of their files.

    Raises:
        InputError: see `reproduce`.
    """
    record = _read(Path(record_file))
    with _as_many_threads(record):
        now = surroundings(record.device)
    pairs = ((one.name, getattr(record, one.name), getattr(now, one.name)) for one in fields(Surroundings))
    lines = [f"{name}: {as_json(old)} then, {as_json(new)} now" for name, old, new in pairs if old != new]
    for path, text in ((record.files.solver, record.text.solver), (record.files.net, record.text.net)):
        file = ROOT / path
        if not file.is_file() or file.read_text() != text:
            lines.append(f"{path} is not what was trained; what was trained is in the record")
    return lines


def reproduce(record_file: str | Path, out: str | Path, force: bool = False) -> Reproduction:
    """Train again what a run.json tells of, into ``out``, and compare the weights.

    Args:
        record_file: run.json of a finished training.
        out: folder of the second training.
        force: throw away what stands in ``out``.

    Raises:
        InputError: the record is missing, malformed, or of a training that was stopped or resumed: a snapshot does not
            keep dropout's random numbers.
        DatabaseError: an LMDB is gone or holds other samples.
        OutputExistsError: ``out`` holds a training, and not ``force``.
    """
    record_file, out = Path(record_file), Path(out)
    record = _read(record_file)
    _check_data(record)
    with _as_many_threads(record):
        result = train(_write_files(record, out), out, record.device, record.iteration, force=force)
    if result.weights is None:  # a signal ended it
        raise KeyboardInterrupt
    equal = hashlib.sha256(result.weights.read_bytes()).hexdigest() == record.sha256.get(WEIGHTS)
    original = record_file.parent / WEIGHTS
    return Reproduction(equal, _difference(original, result.weights) if original.is_file() else None)


def _as_many_threads(record: TrainingRecord) -> threadpool_limits:
    """Of BLAS, as the training had."""
    return threadpool_limits(max((library.num_threads for library in record.blas), default=None), "blas")


def _read(path: Path) -> TrainingRecord:
    existing(path, "record", "it is run.json in the folder of a training")
    record = read_json(path, TrainingRecord, InputError, "give the run.json of a training by `nbcad train`")
    if not record.finished:
        raise InputError(f"{path}: the training was stopped at iteration {record.iteration}; go on with --resume")
    if record.resumed_from:
        resumed = f"the training was resumed at iteration {record.resumed_from}"
        raise InputError(f"{path}: {resumed}, which gives other random numbers")
    return record


def _check_data(record: TrainingRecord) -> None:
    for source, expected in record.sha256.items():
        if source in ("solver", "net", WEIGHTS):
            continue
        with at_root():
            found = lmdb_io.fingerprint(source)
        if found != expected:
            raise DatabaseError(f"LMDB {source} holds other samples than the training was given; make it as it was")


def _write_files(record: TrainingRecord, out: Path) -> Path:
    """Net and solver of the record into ``out``; the solver names that net."""
    out.mkdir(parents=True, exist_ok=True)
    net = out / "given_net.prototxt"
    net.write_text(record.text.net)
    try:
        solver = text_format.Parse(record.text.solver, caffe_pb2.SolverParameter())
    except text_format.ParseError as error:
        raise ModelError(f"the solver in the record is malformed: {error}") from error
    solver.net = from_root(net)
    path = out / "given_solver.prototxt"
    path.write_text(text_format.MessageToString(solver))
    return path


def _difference(one: Path, other: Path) -> float | None:
    first, second = caffe_net.read_weights(one), caffe_net.read_weights(other)
    if {name: [b.shape for b in blobs] for name, blobs in first.items()} != {
        name: [b.shape for b in blobs] for name, blobs in second.items()
    }:
        return None
    return max(
        float(np.abs(a - b).max() / max(np.abs(a).max(), np.finfo(np.float32).tiny))
        for name, blobs in first.items()
        for a, b in zip(blobs, second[name], strict=True)
    )
