import pydicom
import pytest

import make_hospital
import sample_database
from make_dicom import write
from nbcad.samples import audit, build
from repository import run_tool


@pytest.fixture
def database(tmp_path, rng):
    make_hospital.hospital(tmp_path, rng, patients=range(7))
    path = tmp_path / "out" / "samples.sqlite"
    build.build(tmp_path, [tmp_path / "annotations.csv"], path)
    return path


def test_a_sound_database_is_told_with_its_runs_sides_and_sources(database):
    done = run_tool("audit_database", "--database", database)
    assert done.returncode == 0, done.stderr
    for text in ("options: seed 1", "run 1, 20", "patient 7", "labels from csv, train: files 1, slices 20, boxes 2",
                 "patients_test: normal", "every image and label file is as it was"):  # fmt: skip
        assert text in done.stdout, text


def test_every_patient_is_listed_by_its_hash(database):
    done = run_tool("audit_database", "--database", database, "--patients")
    header, *rows = done.stdout.splitlines()
    assert header == "patient,stage,side,fold,slices,sources" and len(rows) == 7
    assert all(len(row.split(",")[0]) == 64 and row.endswith(",,4,csv") for row in rows)


def test_whether_it_is_of_the_phantom_is_answered_in_one_line(database):
    done = run_tool("audit_database", "--database", database, "--phantom")
    assert done.returncode == 1 and done.stderr.endswith("is of other images than data/phantom\n")
    sample_database.change(database, "UPDATE series SET phantom = 1")
    sample_database.change(database, "UPDATE label_file SET path = '/clone/data/phantom/annotations.csv'")
    assert run_tool("audit_database", "--database", database, "--phantom").returncode == 0


def test_a_file_or_label_that_changed_is_named(database, tmp_path):
    path = tmp_path / "p3" / "1"
    dataset = pydicom.dcmread(path)
    dataset.PixelData = dataset.PixelData[::-1]
    write(dataset, path)
    with (tmp_path / "annotations.csv").open("a") as file:
        file.write("1.2.3,0,thorax,,,,,\n")
    (tmp_path / "p2" / "0").unlink()
    problems = audit.audit(database)
    assert len(problems) == 3
    assert any(str(path) in p for p in problems) and any("annotations.csv" in p for p in problems)
    done = run_tool("audit_database", "--database", database)
    assert done.returncode == 1 and "3 things" in done.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE sample SET split = 'test', key = key + 1000 WHERE split = 'train' AND key = 3", "another side"),
        ("DELETE FROM sample WHERE split = 'train' AND key = 3", "keys of"),
        ("INSERT INTO split SELECT NULL, min(slice), 'val', NULL, 1 FROM slice_side WHERE side = 'train'", "2 sides"),
        ("UPDATE slice SET pixel_sha256 = (SELECT pixel_sha256 FROM slice WHERE slice = 9)", "one image"),
    ],
)
def test_a_database_that_was_tampered_with_is_found_out(database, change, message):
    sample_database.change(database, change)
    assert any(message in problem for problem in audit.audit(database))
