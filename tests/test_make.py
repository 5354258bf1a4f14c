"""The commands that make runs for an existing sample database."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from make_hospital import hospital
from nbcad.samples import build
from repository import ROOT

PATIENTS = range(3)


@pytest.fixture
def planned(tmp_path):
    """Return a function that gives the commands make would run for the sample database."""
    for name in ("Makefile", "setup.mk", "python", "config", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "data").mkdir()

    def plan(*variables: str) -> str:
        command = ["make", "-n", "data/samples.sqlite", *variables]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    plan.database = tmp_path / "data/samples.sqlite"
    plan.phantom = tmp_path / "data/phantom"
    return plan


@pytest.fixture
def made_of(planned, rng):
    """Return a function that builds the sample database of images in a folder, and makes it older than every source."""

    def make(folder: Path, phantom: str) -> None:
        folder.mkdir(parents=True)
        hospital(folder, rng, PATIENTS, lambda number, index, image: setattr(image, "QualityControlImage", phantom))
        build.build(folder, [folder / "annotations.csv"], planned.database)
        os.utime(planned.database, (0, 0))

    return make


def test_without_a_database_the_phantom_s_is_built(planned):
    assert "tools/make_phantom.py" in planned() and "--force" in planned()


@pytest.mark.parametrize("phantom", ["NO", "YES"])
def test_your_own_database_stays_beside_whatever_is_left_of_the_phantom(planned, made_of, tmp_path, phantom):
    made_of(tmp_path / "images", phantom)
    assert "tools/" not in planned()
    planned.phantom.mkdir()
    assert "tools/" not in planned()
    (planned.phantom / "annotations.csv").touch()
    assert "tools/" not in planned()


def test_a_patients_database_stays_even_if_its_images_lie_where_the_phantom_does(planned, made_of):
    made_of(planned.phantom, "NO")
    assert "tools/" not in planned()


def test_a_database_that_cannot_be_read_stays(planned):
    planned.database.touch()
    assert "tools/" not in planned()


def test_your_own_database_grows_when_its_images_are_given(planned):
    planned.database.touch()
    commands = planned("DICOM=images", "ANNOTATIONS=labels")
    assert "tools/make_database.py --dicom images --annotations labels" in commands
    assert "--force" not in commands and "tools/make_phantom.py" not in commands


def test_the_phantom_s_database_is_built_again_when_its_labels_change(planned, made_of):
    made_of(planned.phantom, "YES")
    assert "tools/make_database.py" in planned() and "--force" in planned()


def test_the_phantom_s_database_is_known_when_its_clone_has_moved(planned, made_of, tmp_path):
    made_of(planned.phantom, "YES")
    planned.phantom.rename(tmp_path / "elsewhere")
    assert "tools/make_phantom.py" in planned() and "tools/make_database.py" in planned()
