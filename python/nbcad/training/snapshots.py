"""Snapshots of a training: weights and solver state, sound or not there at all."""

import os
import sys
import tempfile
from pathlib import Path

from nbcad.errors import InputError, ModelError, OutputError
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe, caffe_pb2
from nbcad.runtime.files import telling_no_space

SNAPSHOTS_KEPT = 2
_AROUND_WEIGHTS = 1 << 18  # bytes of a snapshot's files beside the numbers


def write_snapshot(solver: caffe.SGDSolver, run: Path) -> None:
    """Write weights and solver state, read both back, then give them their names; keep the newest two."""
    check_room(solver, run)
    solver.snapshot()
    written = run / f".tmp_iter_{solver.iter}"
    model, state = Path(f"{written}.caffemodel"), Path(f"{written}.solverstate")
    final = run / f"iter_{solver.iter:08d}.caffemodel"
    caffe_net.read_weights(model)
    message = caffe_pb2.SolverState.FromString(state.read_bytes())
    message.learned_net = str(final)
    state.write_bytes(message.SerializeToString())
    os.replace(model, final)
    os.replace(state, final.with_suffix(".solverstate"))
    for old in sorted(run.glob("iter_*.solverstate"))[:-SNAPSHOTS_KEPT]:
        old.with_suffix(".caffemodel").unlink(missing_ok=True)
        old.unlink()


def check_room(solver: caffe.SGDSolver, run: Path) -> None:
    """Raise `OutputError` where weights and solver state do not fit: Caffe ends the process when it cannot write."""
    needed = 2 * sum(blob.data.nbytes for blobs in solver.net.params.values() for blob in blobs) + _AROUND_WEIGHTS
    with (
        telling_no_space(OutputError, run, "free some, then go on with --resume"),
        tempfile.TemporaryFile(dir=run) as file,
    ):
        os.posix_fallocate(file.fileno(), 0, needed)


def restore_newest(solver: caffe.SGDSolver, run: Path) -> None:
    """Restore the newest snapshot that can be read, and bring the training data to where they were.

    Raises:
        InputError: there is none.
    """
    for state in sorted(run.glob("iter_*.solverstate"), reverse=True):
        try:
            caffe_net.read_weights(state.with_suffix(".caffemodel"))
            caffe_pb2.SolverState.FromString(state.read_bytes())
        except (ModelError, caffe_net.DecodeError) as error:
            print(f"{state.stem} is passed over: {error}", file=sys.stderr)
            continue
        solver.restore(str(state))
        for _ in range(solver.iter):  # Caffe's Data layer starts from the beginning: bring it to where it was
            solver.net.forward(end="data")
        return
    raise InputError(f"{run} holds no sound snapshot to resume from; start without --resume")
