"""The folder of a report: complete or not there, and nobody else's files are ever in danger."""

import json

import pytest

from nbcad.errors import InputError, OutputExistsError
from nbcad.report import output, report_folder


def _fill(folder, schema="nbcad-report/2"):
    (folder / "dicom").mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps({"schema": schema}))
    for name in ("report.html", "dicom/0001.sr.dcm", "dicom/0001-01.sc.dcm", "dicom/10000-12.sc.dcm"):
        (folder / name).write_text("old")
    return folder


def _write(out, force=False, source="in"):
    with report_folder(out, out.parent / source, force) as folder:
        (folder / "report.json").write_text("new")


def _names(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize("there", [False, True])
def test_nothing_or_an_empty_folder_needs_no_force(tmp_path, there):
    out = tmp_path / "a" / "out"
    if there:
        out.mkdir(parents=True)
    _write(out)
    assert _names(tmp_path) == ["a", "a/out", "a/out/report.json"]


@pytest.mark.parametrize("schema", ["nbcad-report/1", "nbcad-report/2"])
def test_report_of_ours_is_replaced_as_a_whole_if_forced(tmp_path, schema):
    out = _fill(tmp_path / "out", schema)
    with pytest.raises(OutputExistsError, match="--force"):
        _write(out)
    assert (out / "report.html").read_text() == "old"
    _write(out, force=True)
    assert _names(tmp_path) == ["out", "out/report.json"]


@pytest.mark.parametrize(
    "foreign", ["thesis.docx", ".hidden", "dicom/IM0001", "dicom/0001.dcm", "dicom/0001.sr.dcm.bak", "folder/x"]
)
def test_other_peoples_files_are_never_deleted_forced_or_not(tmp_path, foreign):
    out = _fill(tmp_path / "out")
    (out / foreign).parent.mkdir(exist_ok=True)
    (out / foreign).write_text("mine")
    before = _names(tmp_path)
    for force in (False, True):
        with pytest.raises(OutputExistsError, match=foreign.partition("/x")[0]):
            _write(out, force)
    assert _names(tmp_path) == before and (out / foreign).read_text() == "mine"


@pytest.mark.parametrize("text", [None, "mine", "[]", '{"schema": "other/1"}', '"nbcad-report/1"'])
def test_report_json_of_another_kind_or_none_is_not_ours(tmp_path, text):
    out = _fill(tmp_path / "out")
    (out / "report.json").unlink() if text is None else (out / "report.json").write_text(text)
    before = _names(tmp_path)
    with pytest.raises(OutputExistsError, match=r"report\.json of another kind, or none"):
        _write(out, force=True)
    assert _names(tmp_path) == before


def test_file_that_came_while_the_report_was_made_stays(tmp_path):
    out = _fill(tmp_path / "out")
    with pytest.raises(OutputExistsError, match=r"notes\.txt"), report_folder(out, tmp_path / "in", True):
        (out / "notes.txt").write_text("mine")
    assert (out / "notes.txt").read_text() == "mine" and (out / "report.html").read_text() == "old"


def test_file_in_the_place_of_the_folder_stays(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputExistsError, match="no folder"):
        _write(tmp_path / "out", force=True)
    assert (tmp_path / "out").read_text() == "mine"


def test_link_to_a_folder_is_followed_and_stays_a_link(tmp_path):
    _fill(tmp_path / "real")
    (tmp_path / "out").symlink_to("real")
    _write(tmp_path / "out", force=True)
    assert (tmp_path / "out").is_symlink() and _names(tmp_path / "real") == ["report.json"]


@pytest.mark.parametrize("source", ["out", "out/dicom", "out/dicom/0001.sr.dcm"])
def test_images_within_the_output_are_not_deleted_with_it(tmp_path, source):
    out = _fill(tmp_path / "out")
    with pytest.raises(InputError, match="lies in --out"):
        _write(out, force=True, source=source)
    assert (out / "report.html").read_text() == "old"


def test_mount_point_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(output.Path, "is_mount", lambda path: path == tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="mount point"):
        _write(tmp_path / "out")


def test_failure_leaves_the_old_report_and_nothing_beside_it(tmp_path):
    out = _fill(tmp_path / "out")
    with pytest.raises(ZeroDivisionError), report_folder(out, tmp_path / "in", True) as folder:
        (folder / "report.json").write_text("half")
        raise ZeroDivisionError
    assert (out / "report.html").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["out"]
