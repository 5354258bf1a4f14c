"""``run.json``: what made a set of weights, with all that is needed to make them again.

docs/formats/run.schema.json describes every field.
"""

import hashlib
import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

import nbcad
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe, caffe_pb2
from nbcad.runtime import machine

RUN = "run.json"


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions of the software."""

    nbcad: str
    caffe: str
    python: str


@dataclass(frozen=True, slots=True)
class Blas:
    """A BLAS library and its threads: sums in another order are other floats."""

    internal_api: str
    version: str | None
    architecture: str | None
    num_threads: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything besides data, net and solver that decides the bytes of the weights."""

    device: str
    versions: Versions
    processor: str
    layers: str
    blas: tuple[Blas, ...]


@dataclass(frozen=True, slots=True)
class SolverAndNet:
    """One text for the solver and one for its net."""

    solver: str
    net: str


@dataclass(frozen=True, slots=True)
class TrainingRecord(Surroundings):
    """The record of one training."""

    started: str  # ISO 8601, UTC
    random_seed: int
    files: SolverAndNet  # paths
    sha256: dict[str, str]  # of both texts, of each LMDB by its path, of the weights by their file's name
    text: SolverAndNet
    resumed_from: int  # iteration; 0: from the start
    iteration: int  # the last one
    finished: bool  # false: a signal ended it
    last: dict[str, float | None]  # the last line of log.csv by its columns; empty if there is none


def surroundings(device: str) -> Surroundings:
    """Return what this process trains with."""
    return Surroundings(
        device=device,
        versions=Versions(nbcad.__version__, caffe.__version__, platform.python_version()),
        processor=machine.processor(),
        layers=os.environ.get(caffe_net.LAYERS, "fast"),
        blas=tuple(
            Blas(one["internal_api"], one["version"], one["architecture"], one["num_threads"])
            for one in _blas_of_caffe()
        ),
    )


def begin_record(
    solver_file: str | Path, given: caffe_pb2.SolverParameter, lmdbs: dict[str, str], device: str, iteration: int
) -> TrainingRecord:
    """Return the record of a training that begins now.

    Args:
        solver_file: prototxt of the solver.
        given: the solver in it.
        lmdbs: fingerprints of the net's LMDBs by their paths.
        device: "cpu" or "cuda:N".
        iteration: from which it goes on.
    """
    around, text = surroundings(device), SolverAndNet(Path(solver_file).read_text(), Path(given.net).read_text())
    return TrainingRecord(
        device=around.device,
        versions=around.versions,
        processor=around.processor,
        layers=around.layers,
        blas=around.blas,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        random_seed=given.random_seed,
        files=SolverAndNet(str(solver_file), given.net),
        sha256={"solver": _sha256(text.solver), "net": _sha256(text.net), **lmdbs},
        text=text,
        resumed_from=iteration,
        iteration=iteration,
        finished=False,
        last={},
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _blas_of_caffe() -> list[dict[str, Any]]:
    """Return the BLAS libraries that Caffe uses, without those in the wheels of NumPy, SciPy and OpenCV."""
    return [x for x in threadpool_info() if x["user_api"] == "blas" and "site-packages" not in x["filepath"]]
