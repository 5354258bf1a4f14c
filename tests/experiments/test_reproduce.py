import json
import signal

import numpy as np
import pytest

from nbcad.errors import DatabaseError, InputError
from nbcad.experiments.reproduce import changes, reproduce
from nbcad.samples import lmdb_io
from nbcad.training import driver
from repository import run_tool


@pytest.fixture
def trained(tmp_path, rewritten_solver):
    """Folder of a short training of the stager, dropout and all."""
    rng = np.random.default_rng(5)
    for split in ("train", "val"):
        lmdb_io.write(tmp_path / split, rng.integers(0, 255, (40, 32, 32), np.uint8), rng.integers(0, 5, 40))
    edits = [(r"batch_size: 64", "batch_size: 8")], [(r"test_iter: 10", "test_iter: 2")]
    solver = rewritten_solver(tmp_path / "given", "stage", (tmp_path / "train", tmp_path / "val"), *edits)
    driver.train(solver, tmp_path / "run", max_iter=7)
    return tmp_path / "run"


def _edit(path, edit) -> None:
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))


def test_record_gives_the_same_bytes_after_net_and_solver_changed(trained, tmp_path):
    for name in ("solver", "train_val"):
        (tmp_path / "given" / f"{name}.prototxt").write_text("")
    done = run_tool("reproduce", trained / "run.json", "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    *changed, last = done.stdout.splitlines()
    assert last.endswith("the same bytes")
    assert [line.partition(".prototxt")[0].rpartition("/")[2] for line in changed] == ["solver", "train_val"]
    assert (tmp_path / "again" / "final.caffemodel").read_bytes() == (trained / "final.caffemodel").read_bytes()


def test_another_seed_is_told_apart_with_how_far_the_weights_lie(trained, tmp_path):
    assert changes(trained / "run.json") == []
    _edit(trained / "run.json", lambda r: r["text"].update(solver=r["text"]["solver"].replace("seed: 1", "seed: 2")))
    found = reproduce(trained / "run.json", tmp_path / "again")
    assert not found.equal and 0.01 < found.difference < 2
    assert run_tool("reproduce", trained / "run.json", "--out", tmp_path / "again", "--force").returncode == 1


def test_another_processor_is_said_before_the_training(trained):
    _edit(trained / "run.json", lambda record: record.update(processor="Babbage"))
    (line,) = changes(trained / "run.json")
    assert line.startswith("processor: Babbage then")


def test_a_second_training_that_a_signal_ends_is_not_compared(trained, tmp_path, monkeypatch):
    stopped = driver.Result(3, False, signal.SIGINT, None, [])
    monkeypatch.setattr("nbcad.experiments.reproduce.train", lambda *_, **__: stopped)
    with pytest.raises(KeyboardInterrupt):
        reproduce(trained / "run.json", tmp_path / "again")


def test_other_data_are_refused(trained, tmp_path):
    lmdb_io.write(tmp_path / "other", np.zeros((40, 32, 32), np.uint8), [0] * 40)
    (tmp_path / "train").rename(tmp_path / "gone")
    (tmp_path / "other").rename(tmp_path / "train")
    with pytest.raises(DatabaseError, match="train holds other samples"):
        reproduce(trained / "run.json", tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda record: record.update(finished=False), "stopped at iteration 7"),
        (lambda record: record.update(resumed_from=5), "resumed at iteration 5"),
        (lambda record: record.pop("blas"), "blas is missing"),
        (lambda record: record.pop("finished"), "finished is missing; give the run.json of a training"),
    ],
)
def test_a_record_that_cannot_be_repeated_is_refused_with_the_reason(trained, tmp_path, edit, reason):
    _edit(trained / "run.json", edit)
    with pytest.raises(InputError, match=reason):
        reproduce(trained / "run.json", tmp_path / "again")
