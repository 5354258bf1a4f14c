import sqlite3
from collections import Counter
from contextlib import closing

import numpy as np
import pytest

import make_hospital
from nbcad import database, sampling
from nbcad.annotations import HEADER, SliceAnnotation, read_annotations
from nbcad.errors import DatabaseError, InputError, SplitError


@pytest.fixture
def hospital(tmp_path, chance):
    make_hospital.hospital(tmp_path, chance)
    return tmp_path


def _build(folder, options=None, **more):
    labels = more.pop("labels", [folder / "annotations.csv"])
    return database.build(folder, labels, folder / "out" / "samples.sqlite", options, **more)


def test_every_patient_is_on_one_side_and_each_stage_on_all(hospital):
    _build(hospital)
    with closing(database.connect(hospital / "out" / "samples.sqlite")) as connection:
        splits = connection.execute("SELECT stage, side FROM patient JOIN split USING (patient)").fetchall()
    assert Counter(s["side"] for s in splits) == {"train": 8, "val": 2, "test": 2}
    assert {(s["stage"], s["side"]) for s in splits} >= {("L1", "train"), ("normal", "train")}


def test_positive_windows_are_centred_in_the_lesion_and_negative_ones_clear_of_it(hospital):
    _build(hospital)
    with closing(database.connect(hospital / "out" / "samples.sqlite")) as connection:
        rows = connection.execute(
            "SELECT sample.*, row0, col0, row1, col1 FROM sample LEFT JOIN lesion_box USING (slice)"
            " WHERE task = 'stage'"
        ).fetchall()
    assert {row["label"] for row in rows} == {0, 1}
    for row in rows:
        if row["label"]:
            assert row["row0"] <= row["row"] <= row["row1"] and row["col0"] <= row["col"] <= row["col1"]
        elif row["row0"] is not None:
            clearance = sampling.CLEARANCE_MM / 2  # pixels are 2 mm
            outside = (
                row["row"] < row["row0"] - clearance or row["row"] >= row["row1"] + clearance,
                row["col"] < row["col0"] - clearance or row["col"] >= row["col1"] + clearance,
            )
            assert any(outside)
    assert {row["mirrored"] for row in rows} == {0, 1}


def test_rare_stages_get_more_windows_a_cross_section_so_that_stages_balance():
    boxes = {"L1": 10, "M": 90}
    annotated = [SliceAnnotation(None, True, [(stage, (0, 0, 9, 9))] * count) for stage, count in boxes.items()]
    windows = sampling.windows_per_box(annotated)
    assert windows == {"L1": 60, "M": 7}


def test_slice_without_region_is_no_organ_sample(hospital):
    counts = _build(hospital).counts["organ"]
    slices = {split: sum(c.values()) for split, c in counts.items()}
    assert slices["val"] + slices["test"] == 4 * 3
    assert slices["train"] == 8 * 3 * (1 + sampling.ORGAN_COPIES)


def test_only_training_slices_get_jittered_copies_each_another(hospital):
    _build(hospital)
    with closing(database.connect(hospital / "out" / "samples.sqlite")) as connection:
        rows = connection.execute("SELECT * FROM sample WHERE task = 'organ'").fetchall()
    jittered = [(row["turn_deg"], row["zoom"], row["down"], row["right"]) for row in rows if row["zoom"]]
    assert len(set(jittered)) == len(jittered) == 8 * 3 * sampling.ORGAN_COPIES
    assert {row["split"] for row in rows if row["zoom"]} == {"train"}
    assert {row["split"] for row in rows if row["zoom"] is None} == {"train", "val", "test"}


def test_slice_whose_lesions_are_not_known_gives_no_normal_windows(hospital):
    text = (hospital / "annotations.csv").read_text().replace(",normal,", ",,")
    (hospital / "annotations.csv").write_text(text)
    counts = _build(hospital).counts["stage"]
    with closing(database.connect(hospital / "out" / "samples.sqlite")) as connection:
        annotated = connection.execute(
            "SELECT count(*) FROM sample WHERE task = 'stage' AND slice NOT IN (SELECT slice FROM lesion_box)"
        ).fetchone()[0]
    assert annotated == 0 and sum(c["L1"] for c in counts.values()) > 0


def test_patient_id_is_nowhere_in_the_database(tmp_path, chance):
    make_hospital.hospital(
        tmp_path, chance, edit=lambda number, index, image: setattr(image, "PatientID", f"SECRET{number}")
    )
    _build(tmp_path)
    assert b"SECRET" not in (tmp_path / "out" / "samples.sqlite").read_bytes()
    assert (tmp_path / "out" / "samples.key").stat().st_mode & 0o777 == 0o600


def test_identical_image_on_two_sides_stops_the_build_and_names_the_pair(tmp_path, chance):
    same = chance.integers(50, 900, (60, 60)).astype(np.uint16).tobytes()

    def one_slice_for_all(number, index, image):
        if index == 2:
            image.PixelData = same

    make_hospital.hospital(tmp_path, chance, edit=one_slice_for_all)
    with pytest.raises(SplitError, match=r"p\d+/2 and .*p\d+/2"):
        _build(tmp_path)
    assert not (tmp_path / "out" / "samples.sqlite").exists()


def test_patient_with_two_stages_stops_the_build(hospital):
    text = (hospital / "annotations.csv").read_text()
    first_of_p1 = text.splitlines()[5]
    (hospital / "annotations.csv").write_text(text.replace(first_of_p1, first_of_p1.replace("normal,,,,", "M,1,1,9,9")))
    with pytest.raises(DatabaseError, match="two stages"):
        _build(hospital)


def test_every_file_is_accounted_for(hospital):
    _build(hospital)
    with closing(sqlite3.connect(hospital / "out" / "samples.sqlite")) as connection:
        status = dict(connection.execute("SELECT status, count(*) FROM file GROUP BY status"))
    assert status == {"used": 49}  # the annotations lie beside the images


def test_annotations_of_other_images_are_an_error(hospital):
    (hospital / "annotations.csv").write_text(",".join(HEADER) + "\n1.2.3,0,thorax,normal,,,,\n")
    with pytest.raises(DatabaseError, match="no annotated"):
        _build(hospital)


def test_what_is_no_sample_database_is_refused(tmp_path):
    (tmp_path / "x.sqlite").write_text("no database at all, but long enough to be looked at as one")
    for path, message in ((tmp_path / "x.sqlite", "no sample database"), (tmp_path / "y", "make data")):
        with pytest.raises(DatabaseError, match=message):
            database.connect(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1.2,0,liver,normal,,,,", "organ 'liver'"),
        ("1.2,0,thorax,L9,,,,", "stage 'L9'"),
        ("1.2,0,thorax,L1,,,,", "without a box"),
        ("1.2,0,thorax,L1,5,5,4,9", "box"),
        ("1.2,0,thorax,normal,1,1,4,9", "needs a stage"),
        ("1.2,x,thorax,normal,,,,", "line 2"),
        ("1.2,0,thorax,L1,1,,4,9", "line 2"),
        ("1.2,0,thorax,normal,,,,\n1.2,0,adrenal,normal,,,,", "line 3"),
    ],
)
def test_malformed_annotation_names_its_line(tmp_path, line, message):
    path = tmp_path / "a.csv"
    path.write_text(",".join(HEADER) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        read_annotations(path)


def test_annotations_need_their_header(tmp_path):
    (tmp_path / "a.csv").write_text("sop,organ\n")
    with pytest.raises(InputError, match="header"):
        read_annotations(tmp_path / "a.csv")
