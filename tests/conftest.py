"""Fixtures: everything is made here, of phantoms and random numbers; nothing of the working copy is written to."""

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from nbcad.runtime import verbosity
from repository import ROOT, run_tool

pytest.register_assert_rewrite("make_node", "make_objects", "map_work")


def pytest_collection_modifyitems(config, items):
    """Tests of minutes among a hospital's programs are for their own command."""
    if "hospital" not in config.option.markexpr:
        for item in items:
            if "hospital" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="takes minutes: make test-hospital"))


@pytest.fixture(autouse=True, scope="session")
def _run_from_the_root():
    """Paths in prototxt are relative to the repository's root, where every command runs."""
    before = Path.cwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


@pytest.fixture(autouse=True)
def _as_usual(monkeypatch):
    """Leave to the tests after it neither what a test chose to be said nor what it did with signals."""
    monkeypatch.setattr(verbosity, "_level", verbosity.NORMAL)
    monkeypatch.setenv(verbosity.VARIABLE, verbosity.NORMAL)
    endings = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in endings.items():  # `cli.run` sets its own
        signal.signal(number, handler)


@pytest.fixture
def rng():
    """A seeded generator of random numbers."""
    return np.random.default_rng(7)


@pytest.fixture(scope="module")
def eager():
    """Models, not trained, to which everything is a lesion."""
    from make_analysis import untrained

    return untrained(threshold=0.0)


@pytest.fixture(scope="module")
def blind():
    """Models, not trained, to which nothing is a lesion."""
    from make_analysis import untrained

    return untrained(threshold=1.1)


@pytest.fixture(scope="session")
def clouds():
    """Three clouds of features, eight patients."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 80)
    features = rng.normal(0, 1, (240, 6)) + 4 * np.eye(3, 6)[labels]
    return features.astype(np.float32), labels, np.tile(np.arange(8), 30)


@pytest.fixture(scope="session")
def svm(clouds):
    """An organ SVM of them."""
    from nbcad.training.organ_svm import fit

    return fit(clouds, clouds[0], "fc7", ["adrenal", "retroperitoneum", "thorax"])


@pytest.fixture(scope="session")
def rewritten_solver():
    """Write a shipped net and its solver into a folder, with other LMDBs and other numbers in some lines."""

    def write(folder: Path, task: str, lmdbs: tuple[Path, Path], net_edits=(), solver_edits=()) -> Path:
        net_name = {"organ": "organ_net", "stage": "stage_lenet5"}[task]
        net = Path(f"models/{net_name}/train_val.prototxt").read_text()
        for split, path in zip(("train", "val"), lmdbs, strict=True):
            net = net.replace(f"data/lmdb/{task}_{split}", str(path))
        solver = Path(f"solvers/{task}_solver.prototxt").read_text()
        solver = solver.replace(f"models/{net_name}/train_val.prototxt", str(folder / "train_val.prototxt"))
        for pattern, replacement in net_edits:
            net, count = re.subn(pattern, replacement, net)
            assert count, pattern
        for pattern, replacement in solver_edits:
            solver, count = re.subn(pattern, replacement, solver)
            assert count, pattern
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "train_val.prototxt").write_text(net)
        (folder / "solver.prototxt").write_text(solver)
        return folder / "solver.prototxt"

    return write


@dataclass
class Flow:
    """A small phantom that went through every step, by the tools themselves."""

    folder: Path
    output: dict[str, str]  # stdout by tool

    @property
    def phantom(self) -> Path:
        return self.folder / "phantom"

    @property
    def database(self) -> Path:
        return self.folder / "samples.sqlite"

    @property
    def lmdbs(self) -> Path:
        return self.folder / "lmdb"

    @property
    def models(self) -> Path:
        return self.folder / "runs"


@pytest.fixture(scope="session")
def flow(tmp_path_factory, rewritten_solver) -> Flow:
    """Phantom -> database -> LMDB -> both nets (a few iterations) -> SVM and operating point -> figures."""
    made = Flow(tmp_path_factory.mktemp("flow"), {})
    database, lmdbs = ("--database", made.database), ("--lmdb", made.lmdbs)
    few = [(r"test_interval: 50", "test_interval: 20"), (r"test_iter: 10", "test_iter: 1")]
    solvers = {
        task: rewritten_solver(
            made.folder / task, task, (made.lmdbs / f"{task}_train", made.lmdbs / f"{task}_val"), solver_edits=few
        )
        for task in ("organ", "stage")
    }
    steps = [
        ("make_phantom", "--out", made.phantom, "--patients", 10, "--seed", 11),
        ("make_database", "--dicom", made.phantom / "dicom", "--annotations", made.phantom / "annotations.csv",
         "--out", made.database),
        ("make_lmdb", *database, "--out", made.lmdbs),
        ("train", "--solver", solvers["organ"], "--run", made.models / "organ", "--max-iter", 10),
        ("train", "--solver", solvers["stage"], "--run", made.models / "stage", "--max-iter", 40),
        ("fit_organ_svm", "--run", made.models / "organ", *database, *lmdbs),
        ("choose_operating_point", "--run", made.models / "stage", *database, *lmdbs),
        ("evaluate", "--models", made.models, *database, *lmdbs, "--baselines",
         "--out", made.folder / "metrics.json"),
    ]  # fmt: skip
    for name, *arguments in steps:
        done = run_tool(name, *arguments)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        made.output[name] = done.stdout
    return made


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Debian's Chromium; installed if it is missing, and the tests skipped if that cannot be."""
    from selenium import webdriver

    if not shutil.which("chromedriver"):
        subprocess.run([ROOT / "caffe/packages.sh", "test"], capture_output=True, check=False)
    if not shutil.which("chromedriver"):
        pytest.skip("Debian's chromium-driver is missing and cannot be installed")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    profile = tmp_path_factory.mktemp("chromium")
    for argument in (
        "--headless=new",
        "--no-sandbox",  # root has none, and the pages are our own
        "--disable-dev-shm-usage",
        "--window-size=1400,1000",
        "--force-device-scale-factor=1",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()
