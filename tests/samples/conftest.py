"""Fixtures of the sample database's tests."""

import pytest

import make_hospital


@pytest.fixture
def hospital(tmp_path, rng):
    """A folder with twelve patients and their annotations."""
    make_hospital.hospital(tmp_path, rng)
    return tmp_path
