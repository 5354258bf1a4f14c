"""Files and folders take their places whole or not at all."""

import pytest

from nbcad.runtime.files import finish_replacing, replacing_file, replacing_folder, take_place


def test_file_is_replaced_only_when_it_was_written_to_the_end(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(ValueError), replacing_file(path) as temporary:
        temporary.write_text("half")
        raise ValueError
    assert path.read_text() == "old"
    with replacing_file(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_folder_is_replaced_only_when_it_was_filled_to_the_end(tmp_path):
    path = tmp_path / "lmdb"
    with replacing_folder(path) as temporary:
        (temporary / "old").touch()
    with pytest.raises(ValueError), replacing_folder(path) as temporary:
        (temporary / "half").touch()
        raise ValueError
    assert [p.name for p in path.iterdir()] == ["old"]
    with replacing_folder(path) as temporary:
        (temporary / "new").touch()
    assert [p.name for p in path.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["lmdb"]


def _folder(path, content):
    path.mkdir()
    (path / content).touch()
    return path


def test_folders_change_places_in_one_step(tmp_path):
    path, new = _folder(tmp_path / "lmdb", "old"), _folder(tmp_path / "part", "new")
    take_place(new, path)
    assert [p.name for p in path.iterdir()] == ["new"] and [p.name for p in new.iterdir()] == ["old"]


def test_folder_is_replaced_where_names_cannot_be_exchanged(tmp_path, monkeypatch):
    monkeypatch.setattr("nbcad.runtime.files.exchange", lambda one, other: False)
    path, new = _folder(tmp_path / "lmdb", "old"), _folder(tmp_path / "part", "new")
    take_place(new, path)
    assert [p.name for p in path.iterdir()] == ["new"] and [p.name for p in tmp_path.iterdir()] == ["lmdb"]


def test_folder_set_aside_by_a_killed_process_comes_back_or_goes(tmp_path):
    path = tmp_path / "lmdb"
    _folder(tmp_path / ".lmdb.old", "old")
    finish_replacing(path)
    assert [p.name for p in path.iterdir()] == ["old"]
    _folder(tmp_path / ".lmdb.old", "older")
    finish_replacing(path)
    assert [p.name for p in path.iterdir()] == ["old"] and [p.name for p in tmp_path.iterdir()] == ["lmdb"]
