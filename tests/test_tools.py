"""The scripts in tools/: the steps of nbcad without an activated environment."""

import os
import shutil
import subprocess
import sys

import pytest

from nbcad.commands import STEPS, load
from repository import ROOT

TOOLS = sorted(ROOT.glob("tools/[!_]*.py"))
BARE = (sys.executable, "-I", "-S")  # a Python without any package


def _run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=60, **options)


@pytest.fixture
def clone(tmp_path):
    """The tools of a fresh clone, in which nothing is built."""
    shutil.copytree(ROOT / "tools", tmp_path / "clone/tools")
    return tmp_path / "clone"


def test_each_step_has_its_script_and_all_are_the_same_but_for_a_line():
    assert sorted(path.stem.replace("_", "-") for path in TOOLS) == sorted(STEPS)
    assert all(os.access(path, os.X_OK) for path in TOOLS)
    lines = [path.read_text().splitlines() for path in TOOLS]
    assert {len(one) for one in lines} == {11} and len({(one[0], *one[2:]) for one in lines}) == 1
    for path, (_, docstring, *_) in zip(TOOLS, lines, strict=True):
        step = path.stem.replace("_", "-")
        assert docstring.lower() == f'"""{load(step).HELP}; `nbcad {step}`."""'.lower()


def test_a_python_without_the_package_is_replaced_by_the_environment_s(tmp_path):
    done = _run(*BARE, ROOT / "tools/infer.py", "--help", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("usage: infer.py")


def test_a_script_is_found_through_a_symbolic_link_from_another_folder(tmp_path):
    (tmp_path / "one").symlink_to(ROOT / "tools/paper_diff.py")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    done = _run(*BARE, "two", "--solver", "none.prototxt", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("two: error: none.prototxt does not exist")


def test_without_an_environment_it_says_in_one_line_what_to_do(clone):
    done = _run(*BARE, clone / "tools/infer.py", "--help")
    assert (done.returncode, done.stderr) == (
        1,
        f"infer.py: error: {clone}/.venv does not exist; run `make caffe` in {clone}\n",
    )


def test_an_environment_without_the_package_is_started_once(clone):
    python = clone / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho started\nexec {" ".join(BARE)} "$@"\n')
    python.chmod(0o755)
    done = _run(*BARE, clone / "tools/infer.py", "--help")
    assert (done.returncode, done.stdout) == (1, "started\n")
    assert done.stderr == f"infer.py: error: {clone}/.venv has not all packages; run `make caffe` in {clone}\n"
