"""The commands that make runs for an existing sample database."""

import os
import subprocess

import pytest

from repository import ROOT


@pytest.fixture
def planned(tmp_path):
    """Return a function that gives the commands make would run for the sample database."""
    for name in ("Makefile", "setup.mk", "python", "config"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "data").mkdir()

    def plan(*variables: str) -> str:
        command = ["make", "-n", "data/samples.sqlite", *variables]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    plan.database = tmp_path / "data/samples.sqlite"
    plan.phantom = tmp_path / "data/phantom"
    return plan


def test_without_a_database_the_phantom_s_is_built(planned):
    assert "tools/make_phantom.py" in planned() and "--force" in planned()


def test_your_own_database_is_not_replaced_by_the_phantom_s(planned):
    planned.database.touch()
    assert "tools/" not in planned()


def test_your_own_database_grows_when_its_images_are_given(planned):
    planned.database.touch()
    commands = planned("DICOM=images", "ANNOTATIONS=labels")
    assert "tools/make_database.py --dicom images --annotations labels" in commands
    assert "--force" not in commands and "tools/make_phantom.py" not in commands


def test_the_phantom_s_database_is_built_again_when_its_labels_change(planned):
    planned.database.touch()
    planned.phantom.mkdir()
    (planned.phantom / "annotations.csv").touch()
    os.utime(planned.database, (0, 0))
    assert "tools/make_database.py" in planned()
