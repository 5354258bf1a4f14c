from pathlib import Path

import pytest

from nbcad.runtime import paths


def test_a_path_of_the_repository_is_relative_to_it_from_anywhere(tmp_path, monkeypatch):
    assert paths.from_root("runs/organ") == "runs/organ"
    assert paths.from_root(tmp_path / "x") == str(tmp_path / "x")
    monkeypatch.chdir(tmp_path)
    assert paths.from_root("x") == str(tmp_path / "x")
    assert paths.from_root(paths.RUNS / "organ") == "runs/organ"


def test_a_path_of_the_repository_as_the_user_sees_it(tmp_path, monkeypatch):
    assert paths.from_here(paths.DATA / "lmdb") == Path("data/lmdb")
    monkeypatch.chdir(tmp_path)
    assert paths.from_here(paths.DATA / "lmdb") == paths.ROOT / "data/lmdb"


def test_the_working_directory_comes_back_whatever_happens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError), paths.at_root():
        assert Path.cwd() == paths.ROOT
        raise ValueError
    assert Path.cwd() == tmp_path
