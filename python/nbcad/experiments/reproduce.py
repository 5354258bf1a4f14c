"""Repetition of a training from its run.json alone, and comparison of the weights byte for byte."""

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
    """The weights of a second training beside those of the first."""

    equal: bool  # whether they are the same bytes
    difference: float | None  # largest one, relative to the largest weight of its blob; None: the first are not there


def changes(record_file: str | Path) -> list[str]:
    """Return a line for each difference from the time a run.json was written, which may change the weights.

    Net and solver are trained as the record holds them, even if their files have changed.

    Raises:
        InputError: see `reproduce`.
    """
    record = _read(Path(record_file))
    with _as_many_threads(record):
        now = surroundings(record.device)
    names = [field.name for field in fields(Surroundings)]
    pairs = ((name, getattr(record, name), getattr(now, name)) for name in names)
    lines = [f"{name}: {as_json(old)} then, {as_json(new)} now" for name, old, new in pairs if old != new]
    for path, text in ((record.files.solver, record.text.solver), (record.files.net, record.text.net)):
        file = ROOT / path
        if not file.is_file() or file.read_text() != text:
            lines.append(f"{path} has changed since the training; the record holds what was trained")
    return lines


def reproduce(record_file: str | Path, out: str | Path, force: bool = False) -> Reproduction:
    """Repeat the training that a run.json records, and compare the weights.

    Args:
        record_file: run.json of a finished training.
        out: folder of the second training.
        force: replace an earlier training in ``out``.

    Raises:
        InputError: the record is missing or malformed, or the training was stopped or resumed: a snapshot does not
            keep dropout's random numbers.
        DatabaseError: an LMDB is gone or holds other samples.
        OutputExistsError: ``out`` holds a training and ``force`` is false.
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
    """Limit BLAS to as many threads as the training had."""
    return threadpool_limits(max((library.num_threads for library in record.blas), default=None), "blas")


def _read(path: Path) -> TrainingRecord:
    """Read the record of a training that can be repeated.

    Raises:
        InputError: see `reproduce`.
    """
    existing(path, "record", "it is run.json in the folder of a training")
    record = read_json(path, TrainingRecord, InputError, "give the run.json of a training by `nbcad train`")
    if not record.finished:
        raise InputError(f"{path}: the training was stopped at iteration {record.iteration}; go on with --resume")
    if record.resumed_from:
        resumed = f"the training was resumed at iteration {record.resumed_from}"
        raise InputError(f"{path}: {resumed}, which gives other random numbers")
    return record


def _check_data(record: TrainingRecord) -> None:
    """Raise `DatabaseError` if an LMDB is gone or holds other samples than the training was given."""
    for source, expected in record.sha256.items():
        if source in ("solver", "net", WEIGHTS):
            continue
        with at_root():
            found = lmdb_io.fingerprint(source)
        if found != expected:
            raise DatabaseError(f"LMDB {source} holds other samples than the training was given; restore it")


def _write_files(record: TrainingRecord, out: Path) -> Path:
    """Write net and solver of the record into ``out``, and return the path of the solver, which names that net."""
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
    """Return the largest difference of two caffemodels' weights; None if their blobs have other shapes."""
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
