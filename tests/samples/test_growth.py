"""A sample database that stands already: what is new comes to it, and nothing else of it changes."""

import fcntl
import os
import zipfile

import numpy as np
import pydicom
import pytest

import make_hospital
from make_dicom import mr_image, write
from nbcad import dicom
from nbcad.errors import DatabaseError, SplitError
from nbcad.nets.labels import stage_labels
from nbcad.samples import build, existing, ingest
from nbcad.samples.build_run import Options
from nbcad.samples.splitting import SplitPlan
from repository import run_tool
from sample_database import query, tables


@pytest.fixture
def hospital(tmp_path, rng):
    make_hospital.hospital(tmp_path, rng)
    _build(tmp_path)
    return tmp_path


def _build(folder, options=None, **more):
    return build.build(folder, [folder / "annotations.csv"], _path(folder), options, **more)


def _path(folder):
    return folder.parent / f"{folder.name}.out" / "samples.sqlite"


def _rows(folder):
    """All rows of all tables."""
    return {name: set(rows) for name, rows in tables(_path(folder)).items()}


def test_a_run_that_adds_nothing_leaves_every_byte_and_the_time(hospital):
    before, time = _path(hospital).read_bytes(), _path(hospital).stat().st_mtime_ns
    built = _build(hospital)
    assert not any(built.added.values()) and not built.problems
    assert (_path(hospital).read_bytes(), _path(hospital).stat().st_mtime_ns) == (before, time)


def test_pixels_of_what_stands_there_are_not_decoded_again(hospital, rng, monkeypatch):
    make_hospital.hospital(hospital, rng, patients=[12])
    decoded = []
    for module in (ingest, existing):
        monkeypatch.setattr(module, "read_pixels", lambda s: decoded.append(s.patient_id) or dicom.read_pixels(s))
    _build(hospital)
    assert set(decoded) == {"P12"}


def test_new_patients_come_after_and_every_old_row_stays(hospital, rng):
    before = _rows(hospital)
    make_hospital.hospital(hospital, rng, patients=range(12, 22))
    built = _build(hospital)
    after = _rows(hospital)
    assert built.added["patient"] == 10 and built.added["annotation"] == 40
    assert all(before[table] <= after[table] for table in before)
    new = {row for row in after["sample"] - before["sample"]}
    assert new and {row[-1] for row in new} == {2}  # of the second run
    for task, split in {row[:2] for row in after["sample"]}:
        keys = sorted(row[2] for row in after["sample"] if row[:2] == (task, split))
        assert keys == list(range(len(keys)))
    sides = [row[2] for row in after["split"]]
    assert {side: sides.count(side) for side in set(sides)} == {"train": 16, "val": 3, "test": 3}


def test_growing_is_seeded(tmp_path, rng):
    for name in ("a", "b"):
        make_hospital.hospital(tmp_path / name, np.random.default_rng(1))
        _build(tmp_path / name)
        make_hospital.hospital(tmp_path / name, np.random.default_rng(2), patients=range(12, 16))
        _build(tmp_path / name)
    first, second = (sorted(_rows(tmp_path / n)["sample"], key=str) for n in "ab")
    # places follow the UIDs, which differ; the order, the labels and the mirroring do not
    assert [row[:5] for row in first] == [row[:5] for row in second]


def test_earlier_lesions_keep_their_windows_when_the_stages_shift(hospital, rng):
    before = _rows(hospital)["sample"]
    more = hospital.parent / f"{hospital.name}.more"
    make_hospital.hospital(more, rng, patients=[13, 15])
    path = more / "annotations.csv"
    path.write_text(path.read_text().replace(",L1,", ",M,"))
    build.build(more, [path], _path(hospital))
    new = _rows(hospital)["sample"] - before
    assert before <= _rows(hospital)["sample"]
    rare = [row for row in new if row[0] == "stage" and row[4] == stage_labels().index("M")]
    # 6 boxes of L1 stand there and 2 of M come: a mean of 4 a stage, 12 windows a box on average
    assert len(rare) == 2 * 24


def test_an_annotation_of_a_slice_that_had_none_is_added(hospital):
    text = (hospital / "annotations.csv").read_text().splitlines()
    lesion = next(line for line in text if ",L1," in line)
    (hospital / "annotations.csv").write_text("\n".join(line for line in text if line != lesion) + "\n")
    _build(hospital, force=True)
    before = _rows(hospital)
    (hospital / "annotations.csv").write_text("\n".join(text) + "\n")
    built = _build(hospital)
    after = _rows(hospital)
    assert not built.problems and built.added["annotation"] == 1 and built.added["slice"] == 0
    assert all(before[t] <= after[t] for t in before if t != "patient")
    assert sum(row[1] == "L1" for row in after["patient"]) == sum(row[1] == "L1" for row in before["patient"]) + 1
    assert built.added["sample"] > 0


@pytest.mark.parametrize("edit", ["L1,20,24,32,40", "normal,,,,", None])
def test_an_annotation_that_changed_or_went_is_named_and_not_taken(hospital, edit):
    text = (hospital / "annotations.csv").read_text()
    lesion = next(line for line in text.splitlines() if ",L1," in line)
    other = lesion.replace("L1,20,24,32,36", edit) if edit else ""
    (hospital / "annotations.csv").write_text(text.replace(lesion + "\n", other + "\n" if other else ""))
    before = _rows(hospital)
    built = _build(hospital)
    assert _rows(hospital) == before
    assert len(built.problems) == 1 and lesion.split(",")[0] in built.problems[0]


def test_a_zip_grows_as_a_folder_does(tmp_path, rng):
    make_hospital.hospital(tmp_path / "in", rng, patients=range(4))
    labels, archive = tmp_path / "in" / "annotations.csv", tmp_path / "all.zip"

    def built():
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted((tmp_path / "in").glob("p*/*")):
                file.write(path, path.relative_to(tmp_path / "in"))
        return build.build(archive, [labels], tmp_path / "out" / "samples.sqlite")

    assert built().added["slice"] == 16
    made = (tmp_path / "out" / "samples.sqlite").read_bytes()
    again = built()  # the zip's time is another
    assert not again.problems and (tmp_path / "out" / "samples.sqlite").read_bytes() == made
    make_hospital.hospital(tmp_path / "in", rng, patients=[5])
    more = built()
    assert not more.problems and more.added["slice"] == 4


def test_a_file_whose_pixels_changed_is_named(hospital):
    path = hospital / "p3" / "0"
    dataset = pydicom.dcmread(path)
    dataset.PixelData = dataset.PixelData[::-1]
    write(dataset, path)
    before = _rows(hospital)
    built = _build(hospital)
    assert [p for p in built.problems if str(path) in p and "has changed" in p]
    assert _rows(hospital) == before


def test_a_file_that_was_only_touched_is_no_problem(hospital):
    os.utime(hospital / "p3" / "0", (1, 1))
    assert not _build(hospital).problems


def test_a_file_that_went_is_named_and_a_folder_not_given_this_time_is_not(hospital, rng):
    (hospital / "p3" / "0").unlink()
    built = _build(hospital)
    assert len(built.problems) == 1 and str(hospital / "p3" / "0") in built.problems[0]
    more = hospital.parent / "more"
    make_hospital.hospital(more, rng, patients=[20])
    built = build.build(more, [more / "annotations.csv"], _path(hospital))
    assert built.added["patient"] == 1 and len(built.problems) == 1


def test_a_series_that_grew_is_named_and_stays_as_it_is(hospital, rng):
    image = mr_image(rng.integers(50, 900, (60, 60)), (0, 0, 20.0), PatientID="P3")
    image.StudyInstanceUID, image.SeriesInstanceUID = "2.25.3", "2.25.3.1"
    write(image, hospital / "p3" / "further")
    before = _rows(hospital)
    built = _build(hospital)
    after = _rows(hospital)
    assert built.refused == 1 and "further slice" in built.problems[0]
    assert all(before[t] == after[t] for t in before if t not in ("file", "run"))
    bytes_then = _path(hospital).read_bytes()
    _build(hospital)
    assert _path(hospital).read_bytes() == bytes_then


def test_a_patient_id_that_changed_is_named(hospital):
    for path in (hospital / "p3").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientID = "Somebody"
        write(dataset, path)
    problems = _build(hospital).problems
    assert any("(0010,0020)" in p for p in problems) and not any("Somebody" in p for p in problems)


def test_copies_elsewhere_are_no_new_images(hospital, tmp_path):
    copy = tmp_path.parent / f"{tmp_path.name}.copy"
    (copy / "p3").mkdir(parents=True)
    for path in (hospital / "p3").iterdir():
        (copy / "p3" / path.name).write_bytes(path.read_bytes())
    built = build.build(copy, [hospital / "annotations.csv"], _path(hospital))
    assert built.added["slice"] == 0 and not built.problems
    reasons = [row["reason"] for row in query(_path(hospital), "SELECT reason FROM file WHERE status = 'ignored'")]
    assert len(reasons) == 4 and all("stands in the database as" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (Options(SplitPlan(seed=2)), "seed 1, not 2"),
        (Options(SplitPlan(folds=5)), "folds 0, not 5"),
        (Options(SplitPlan(by="image")), "split_by patient, not image"),
        (Options(balance=True), "balance False, not True"),
    ],
)
def test_other_options_than_at_first_are_refused_unless_forced(hospital, options, name):
    with pytest.raises(DatabaseError, match=name):
        _build(hospital, options)
    _build(hospital, options, force=True)


def test_without_its_key_a_database_cannot_grow(hospital):
    key = _path(hospital).with_suffix(".key")
    secret = key.read_bytes()
    key.unlink()
    with pytest.raises(DatabaseError, match="is gone"):
        _build(hospital)
    key.write_bytes(secret[::-1])
    with pytest.raises(DatabaseError, match="not the key"):
        _build(hospital)


def test_two_builds_at_once_do_not_undo_each_other(hospital):
    with _path(hospital).with_suffix(".key").open("rb") as key:
        fcntl.flock(key, fcntl.LOCK_EX)
        with pytest.raises(DatabaseError, match="another build"):
            _build(hospital)
    _build(hospital)


def test_a_leak_that_growing_would_bring_leaves_the_old_database(hospital, rng):
    before = _path(hospital).read_bytes()
    same = pydicom.dcmread(hospital / "p3" / "0").PixelData

    def copy(number, index, image):
        if index == 2:
            image.PixelData = same

    make_hospital.hospital(hospital, rng, patients=[12], edit=copy)
    with pytest.raises(SplitError, match=r"p3/0 and .*p12/2 hold one image under two patient IDs"):
        _build(hospital)
    assert _path(hospital).read_bytes() == before
    assert sorted(p.name for p in _path(hospital).parent.iterdir()) == ["samples.key", "samples.sqlite"]


def test_a_phantom_and_patients_do_not_go_into_one_database(hospital, rng):
    make_hospital.hospital(
        hospital, rng, patients=[12], edit=lambda n, i, image: setattr(image, "QualityControlImage", "YES")
    )
    with pytest.raises(DatabaseError, match="keep them in two databases"):
        _build(hospital)


def test_the_tool_ends_with_3_and_names_what_it_did_not_take(hospital):
    (hospital / "p3" / "0").unlink()
    done = run_tool(
        "make_database", "--dicom", hospital, "--annotations", hospital / "annotations.csv", "--out", _path(hospital)
    )
    assert done.returncode == 3 and str(hospital / "p3" / "0") in done.stderr
    assert "added: patient 0" in done.stdout and "patients_train: normal" in done.stdout
