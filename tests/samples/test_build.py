"""A sample database is built: every file accounted for, and nothing that would make its figures wrong."""

import os

import numpy as np
import pytest

import make_hospital
from make_hospital import build_database
from nbcad.annotation.annotations import HEADER
from nbcad.errors import DatabaseError, SplitError
from nbcad.samples.build_run import Options
from nbcad.samples.splitting import SplitPlan
from repository import run_tool
from sample_database import query


def test_patient_id_is_nowhere_in_the_database(tmp_path, rng):
    make_hospital.hospital(
        tmp_path, rng, edit=lambda number, index, image: setattr(image, "PatientID", f"SECRET{number}")
    )
    build_database(tmp_path)
    assert b"SECRET" not in (tmp_path / "out" / "samples.sqlite").read_bytes()
    assert (tmp_path / "out" / "samples.key").stat().st_mode & 0o777 == 0o600


def test_identical_image_on_two_sides_stops_the_build_and_names_the_pair(tmp_path, rng):
    same = rng.integers(50, 900, (60, 60)).astype(np.uint16).tobytes()

    def one_slice_for_all(number, index, image):
        if index == 2:
            image.PixelData = same

    make_hospital.hospital(tmp_path, rng, edit=one_slice_for_all)
    with pytest.raises(SplitError, match=r"p\d+/2 and .*p\d+/2"):
        build_database(tmp_path)
    assert not (tmp_path / "out" / "samples.sqlite").exists()


def test_one_image_under_two_patient_ids_stops_the_build_on_any_side(tmp_path, rng):
    same = rng.integers(50, 900, (60, 60)).astype(np.uint16).tobytes()

    def copy(number, index, image):
        if (number, index) in ((2, 3), (9, 0)):
            image.PixelData = same

    make_hospital.hospital(tmp_path, rng, edit=copy)
    with pytest.raises(SplitError, match=r"p2/3 and .*p9/0 hold one image under two patient IDs \(1 in all\)"):
        build_database(tmp_path, Options(SplitPlan(shares=(1.0, 0.0, 0.0))))


def test_one_study_under_two_patient_ids_stops_the_build(tmp_path, rng):
    def one_study(number, index, image):
        if number in (4, 7):
            image.StudyInstanceUID = "2.25.99"

    make_hospital.hospital(tmp_path, rng, edit=one_study)
    with pytest.raises(SplitError, match=r"p4/0 and .*p7/0 are of one study, \(0020,000D\), under two patient IDs"):
        build_database(tmp_path)


def test_patient_with_two_stages_stops_the_build(hospital):
    text = (hospital / "annotations.csv").read_text()
    first_of_p1 = text.splitlines()[5]
    (hospital / "annotations.csv").write_text(text.replace(first_of_p1, first_of_p1.replace("normal,,,,", "M,1,1,9,9")))
    with pytest.raises(DatabaseError, match="two stages"):
        build_database(hospital)


def test_every_file_is_accounted_for(hospital):
    build_database(hospital)
    status = dict(query(hospital / "out" / "samples.sqlite", "SELECT status, count(*) FROM file GROUP BY status"))
    assert status == {"used": 49}  # the annotations lie beside the images


def test_pipes_and_links_that_lead_nowhere_are_accounted_for_too(hospital):
    os.mkfifo(hospital / "pipe")
    (hospital / "link").symlink_to(hospital / "gone")
    for _ in range(2):
        build_database(hospital)
    status = dict(query(hospital / "out" / "samples.sqlite", "SELECT path, status FROM file WHERE bytes = 0"))
    assert status == {str(hospital / "pipe"): "ignored", str(hospital / "link"): "refused"}


def test_annotations_of_other_images_are_an_error(hospital):
    (hospital / "annotations.csv").write_text(",".join(HEADER) + "\n1.2.3,0,thorax,normal,,,,\n")
    with pytest.raises(DatabaseError, match="no annotated"):
        build_database(hospital)


def test_series_without_patient_id_is_ignored_as_no_side_is_safe_for_it(tmp_path, rng):
    def edit(number, index, image):
        if number == 4:
            image.PatientID = " "

    make_hospital.hospital(tmp_path, rng, edit=edit)
    build_database(tmp_path)
    path = tmp_path / "out" / "samples.sqlite"
    ((reason,),) = query(path, "SELECT DISTINCT reason FROM file WHERE status = 'ignored'")
    assert "(0010,0020)" in reason


@pytest.mark.parametrize(
    "arguments",
    [("--shares", "0.5", "0.2", "0.2"), ("--shares", "1.2", "-0.1", "-0.1"), ("--folds", "2"),
     ("--folds", "5", "--fold", "5"), ("--lesions", "(")],
)  # fmt: skip
def test_the_tool_refuses_options_that_make_no_sense(hospital, arguments):
    done = run_tool("make_database", "--dicom", hospital, "--out", hospital / "out" / "x.sqlite", *arguments)
    assert done.returncode == 2 and arguments[0] in done.stderr
