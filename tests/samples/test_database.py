import ast
import hashlib
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

import make_hospital
import make_labels
import nbcad
from make_dicom import write
from nbcad.annotation.annotations import HEADER, SliceAnnotation, read_annotations
from nbcad.errors import DatabaseError, InputError, SplitError
from nbcad.evaluation import truth
from nbcad.samples import build, sampling
from nbcad.samples.build_run import Options
from nbcad.samples.database import SampleDatabase
from nbcad.samples.split_bias import measure_split_bias
from nbcad.samples.splitting import SplitPlan
from repository import run_tool
from sample_database import query


@pytest.fixture
def hospital(tmp_path, rng):
    make_hospital.hospital(tmp_path, rng)
    return tmp_path


def _build(folder, options=None, **more):
    labels = more.pop("labels", [folder / "annotations.csv"])
    return build.build(folder, labels, folder / "out" / "samples.sqlite", options, **more)


def test_every_patient_is_on_one_side_and_each_stage_on_all(hospital):
    _build(hospital)
    splits = query(hospital / "out" / "samples.sqlite", "SELECT stage, side FROM patient JOIN split USING (patient)")
    assert Counter(s["side"] for s in splits) == {"train": 8, "val": 2, "test": 2}
    assert {(s["stage"], s["side"]) for s in splits} >= {("L1", "train"), ("normal", "train")}


def test_positive_windows_lie_in_the_lesion_and_negative_ones_off_it(hospital):
    _build(hospital)
    rows = query(
        hospital / "out" / "samples.sqlite",
        "SELECT sample.*, row0, col0, row1, col1 FROM sample LEFT JOIN lesion_box USING (slice) WHERE task = 'stage'",
    )
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


def test_stages_give_equally_many_windows_and_so_do_the_lesions_of_a_stage():
    def lesion(stage, boxes):
        return [SliceAnnotation(None, True, [(stage, (0, 0, 9, 9))])] * boxes

    large, small, rare = (lesion("M", 9), lesion("M", 3), lesion("L1", 4))
    nothing = [SliceAnnotation(None, True)]
    windows = sampling.windows_per_box([large + nothing + small, rare])
    of_m, of_l1 = ([n for of_slice in series for n in of_slice] for series in windows)
    assert sum(of_m) == pytest.approx(sum(of_l1)) == pytest.approx(sampling.POSITIVES_PER_BOX * 16 / 2)
    assert sum(of_m[:9]) == pytest.approx(sum(of_m[9:]))


def test_slice_without_region_is_no_organ_sample(hospital):
    counts = _build(hospital).counts["organ"]
    slices = {split: sum(c.values()) for split, c in counts.items()}
    assert slices["val"] + slices["test"] == 4 * 3
    assert slices["train"] == 8 * 3 * (1 + sampling.ORGAN_COPIES)


def test_only_training_slices_get_jittered_copies_each_another(hospital):
    _build(hospital)
    rows = query(hospital / "out" / "samples.sqlite", "SELECT * FROM sample WHERE task = 'organ'")
    jittered = [(row["turn_deg"], row["zoom"], row["down"], row["right"]) for row in rows if row["zoom"]]
    assert len(set(jittered)) == len(jittered) == 8 * 3 * sampling.ORGAN_COPIES
    assert {row["split"] for row in rows if row["zoom"]} == {"train"}
    assert {row["split"] for row in rows if row["zoom"] is None} == {"train", "val", "test"}


def test_slice_whose_lesions_are_not_known_gives_no_normal_windows(hospital):
    text = (hospital / "annotations.csv").read_text().replace(",normal,", ",,")
    (hospital / "annotations.csv").write_text(text)
    counts = _build(hospital).counts["stage"]
    normal = query(
        hospital / "out" / "samples.sqlite",
        "SELECT 1 FROM sample WHERE task = 'stage' AND slice NOT IN (SELECT slice FROM lesion_box)",
    )
    assert not normal and sum(c["L1"] for c in counts.values()) > 0


def test_patient_id_is_nowhere_in_the_database(tmp_path, rng):
    make_hospital.hospital(
        tmp_path, rng, edit=lambda number, index, image: setattr(image, "PatientID", f"SECRET{number}")
    )
    _build(tmp_path)
    assert b"SECRET" not in (tmp_path / "out" / "samples.sqlite").read_bytes()
    assert (tmp_path / "out" / "samples.key").stat().st_mode & 0o777 == 0o600


def test_identical_image_on_two_sides_stops_the_build_and_names_the_pair(tmp_path, rng):
    same = rng.integers(50, 900, (60, 60)).astype(np.uint16).tobytes()

    def one_slice_for_all(number, index, image):
        if index == 2:
            image.PixelData = same

    make_hospital.hospital(tmp_path, rng, edit=one_slice_for_all)
    with pytest.raises(SplitError, match=r"p\d+/2 and .*p\d+/2"):
        _build(tmp_path)
    assert not (tmp_path / "out" / "samples.sqlite").exists()


def test_one_image_under_two_patient_ids_stops_the_build_on_any_side(tmp_path, rng):
    same = rng.integers(50, 900, (60, 60)).astype(np.uint16).tobytes()

    def copy(number, index, image):
        if (number, index) in ((2, 3), (9, 0)):
            image.PixelData = same

    make_hospital.hospital(tmp_path, rng, edit=copy)
    with pytest.raises(SplitError, match=r"p2/3 and .*p9/0 hold one image under two patient IDs \(1 in all\)"):
        _build(tmp_path, Options(SplitPlan(shares=(1.0, 0.0, 0.0))))


def test_one_study_under_two_patient_ids_stops_the_build(tmp_path, rng):
    def one_study(number, index, image):
        if number in (4, 7):
            image.StudyInstanceUID = "2.25.99"

    make_hospital.hospital(tmp_path, rng, edit=one_study)
    with pytest.raises(SplitError, match=r"p4/0 and .*p7/0 are of one study, \(0020,000D\), under two patient IDs"):
        _build(tmp_path)


def test_patient_with_two_stages_stops_the_build(hospital):
    text = (hospital / "annotations.csv").read_text()
    first_of_p1 = text.splitlines()[5]
    (hospital / "annotations.csv").write_text(text.replace(first_of_p1, first_of_p1.replace("normal,,,,", "M,1,1,9,9")))
    with pytest.raises(DatabaseError, match="two stages"):
        _build(hospital)


def test_every_file_is_accounted_for(hospital):
    _build(hospital)
    status = dict(query(hospital / "out" / "samples.sqlite", "SELECT status, count(*) FROM file GROUP BY status"))
    assert status == {"used": 49}  # the annotations lie beside the images


def test_pipes_and_links_that_lead_nowhere_are_accounted_for_too(hospital):
    os.mkfifo(hospital / "pipe")
    (hospital / "link").symlink_to(hospital / "gone")
    for _ in range(2):
        _build(hospital)
    status = dict(query(hospital / "out" / "samples.sqlite", "SELECT path, status FROM file WHERE bytes = 0"))
    assert status == {str(hospital / "pipe"): "ignored", str(hospital / "link"): "refused"}


def test_annotations_of_other_images_are_an_error(hospital):
    (hospital / "annotations.csv").write_text(",".join(HEADER) + "\n1.2.3,0,thorax,normal,,,,\n")
    with pytest.raises(DatabaseError, match="no annotated"):
        _build(hospital)


def test_what_is_no_sample_database_is_refused(tmp_path):
    (tmp_path / "x.sqlite").write_text("no database at all, but long enough to be looked at as one")
    for path, message in ((tmp_path / "x.sqlite", "not a sample database"), (tmp_path / "y", "make data")):
        with pytest.raises(DatabaseError, match=message):
            SampleDatabase.open(path)


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


def test_only_the_modules_of_the_database_hold_sql():
    package = Path(nbcad.__file__).parent
    queues = package / "node" / "jobs.py"  # another schema: the node's own queue
    holders = {package / "samples" / f"database{part}.py" for part in ("", "_checks", "_writer")}
    for path in sorted(set(package.rglob("*.py")) - holders - {queues}):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.fullmatch("execute(many|script)?", node.attr):
                raise AssertionError(f"{path}:{node.lineno} goes round SampleDatabase")


def test_annotations_need_their_header(tmp_path):
    (tmp_path / "a.csv").write_text("sop,organ\n")
    with pytest.raises(InputError, match="header"):
        read_annotations(tmp_path / "a.csv")


def _slices_of(folder, number):
    return [pydicom.dcmread(path) for path in sorted((folder / f"p{number}").iterdir())]


@pytest.fixture
def labelled(tmp_path, rng):
    """Eight patients: SEGs outline the lesions of three, a structure set and a mask those of one each."""
    (tmp_path / "labels").mkdir()
    rectangle = np.array([[9.5, 11.5], [9.5, 29.5], [19.5, 29.5], [19.5, 11.5]])
    for number in range(8):
        folder = tmp_path / "dicom" / f"p{number}"
        images = make_labels.series(folder, rng, number)
        if number < 3:
            make_labels.seg(tmp_path / "labels" / f"seg{number}", images, make_labels.lesion())
        elif number == 3:
            make_labels.structures(tmp_path / "labels" / "rt", images, [(1, rectangle)])
        elif number == 4:
            make_labels.mask(folder / "mask.nii.gz", images, make_labels.lesion())
        else:
            make_labels.mask(folder / "mask.nii.gz", images, 0 * make_labels.lesion())
    (tmp_path / "stages.csv").write_text(
        "patient_id,stage,organ\n" + "".join(f"P{n},{'L1' if n % 2 else 'M'},adrenal\n" for n in range(5))
    )
    return tmp_path


def _build_labelled(folder, *more, **options):
    labels = [folder / "labels", folder / "dicom", *more]
    out = folder / "out" / "samples.sqlite"
    return build.build(folder / "dicom", labels, out, stages=folder / "stages.csv", **options)


def test_each_label_names_its_source_and_its_files_hash(labelled):
    built = _build_labelled(labelled)
    assert not built.problems and built.refused == 0
    rows = query(
        labelled / "out" / "samples.sqlite",
        "SELECT source, label_file.path, sha256, stages_path, count(DISTINCT annotation.slice) AS slices,"
        " count(box.annotation) AS boxes FROM label_file JOIN annotation USING (label_file)"
        " LEFT JOIN box USING (annotation) GROUP BY label_file",
    )
    stages = dict(query(labelled / "out" / "samples.sqlite", "SELECT stage, count(*) FROM patient GROUP BY stage"))
    assert sorted((r["source"], r["slices"], r["boxes"]) for r in rows) == [
        *[("mask", 6, 0)] * 3, ("mask", 6, 4), ("rtstruct", 6, 1), *[("seg", 6, 4)] * 3
    ]  # fmt: skip
    for row in rows:
        assert hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest() == row["sha256"]
        assert row["stages_path"] == str(labelled / "stages.csv")
    assert stages == {"L1": 2, "M": 3, "normal": 3}
    # an organ is known only of slices that show a lesion
    assert sum(built.counts["organ"]["train"].values()) % (1 + sampling.ORGAN_COPIES) == 0
    assert sum(c["retroperitoneum"] + c["thorax"] for c in built.counts["organ"].values()) == 0


def test_label_files_among_the_images_are_used_not_refused(labelled):
    _build_labelled(labelled)
    status = dict(query(labelled / "out" / "samples.sqlite", "SELECT status, count(*) FROM file GROUP BY status"))
    assert status == {"used": 8 * 6 + 8}


def test_growing_with_labels_of_all_kinds_adds_nothing_twice(labelled):
    _build_labelled(labelled)
    before = (labelled / "out" / "samples.sqlite").read_bytes()
    assert not any(_build_labelled(labelled).added.values())
    assert (labelled / "out" / "samples.sqlite").read_bytes() == before


def test_a_csv_may_name_the_organs_of_slices_whose_lesions_a_seg_outlines(labelled):
    images = _slices_of(labelled / "dicom", 0)
    lines = [f"{image.SOPInstanceUID},0,{'adrenal' if n < 4 else 'thorax'},,,,," for n, image in enumerate(images)]
    (labelled / "organs.csv").write_text("\n".join([",".join(HEADER), *lines]) + "\n")
    built = _build_labelled(labelled, labelled / "organs.csv")
    assert not built.problems
    rows = query(
        labelled / "out" / "samples.sqlite",
        "SELECT organ, count(*) FROM slice_label JOIN slice USING (slice) WHERE path LIKE '%/p0/%' GROUP BY organ",
    )
    assert dict(rows) == {"adrenal": 4, "thorax": 2}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("thorax,,,,,", "organ thorax contradicts"),
        (",normal,,,,", "has a lesion on the slice"),
        (",M,11,13,19,29", "outlines the same lesion"),
    ],
)
def test_of_contradicting_label_files_the_first_is_taken(labelled, row, message):
    image = _slices_of(labelled / "dicom", 0)[1]
    (labelled / "more.csv").write_text(f"{','.join(HEADER)}\n{image.SOPInstanceUID},0,{row}\n")
    built = _build_labelled(labelled, labelled / "more.csv")
    (problem,) = built.problems
    assert message in problem and "more.csv" in problem and image.SOPInstanceUID in problem and "seg0" in problem


def test_a_lesion_without_a_stage_is_named_and_its_patient_left_out(labelled):
    text = (labelled / "stages.csv").read_text()
    (labelled / "stages.csv").write_text(text.replace("P2,M,adrenal\n", ""))
    built = _build_labelled(labelled)
    (problem,) = built.problems
    assert "seg2" in problem and "stage is not known" in problem
    assert built.added["patient"] == 7


def test_patient_ids_of_the_table_are_nowhere_in_the_database(labelled):
    for path in (labelled / "dicom").rglob("0*"):
        dataset = pydicom.dcmread(path)
        dataset.PatientID = f"SECRET{dataset.PatientID}"
        write(dataset, path)
    text = (labelled / "stages.csv").read_text()
    (labelled / "stages.csv").write_text(text.replace("\nP", "\nSECRETP"))
    assert not _build_labelled(labelled).problems
    assert b"SECRET" not in (labelled / "out" / "samples.sqlite").read_bytes()


def test_balance_leaves_as_many_samples_of_each_class_as_of_the_rarest(hospital):
    plain = _build(hospital).counts
    balanced = _build(hospital, Options(balance=True), force=True).counts
    for task, names in (("organ", ["adrenal", "retroperitoneum", "thorax"]), ("stage", ["normal", "L1"])):
        rarest = min(plain[task]["train"][name] for name in names)
        assert {balanced[task]["train"][name] for name in names} == {rarest}
        assert [balanced[task][split] for split in ("val", "test")] == [plain[task][s] for s in ("val", "test")]
    first = _samples(hospital)
    _build(hospital, Options(balance=True), force=True)
    assert _samples(hospital) == first


def test_balance_while_growing_takes_out_nothing_that_stands_there(hospital, rng):
    _build(hospital, Options(balance=True))
    before = _samples(hospital)
    make_hospital.hospital(hospital, rng, patients=range(12, 20))
    built = _build(hospital, Options(balance=True))
    assert before <= _samples(hospital)
    assert len(set(built.counts["stage"]["train"][name] for name in ("normal", "L1"))) == 1


def _samples(folder):
    return {tuple(row) for row in query(folder / "out" / "samples.sqlite", "SELECT * FROM sample")}


def test_split_by_image_says_what_it_does_to_the_figures(hospital):
    done = run_tool(
        "make_database", "--dicom", hospital, "--annotations", hospital / "annotations.csv", "--split-by", "image",
        "--out", hospital / "out" / "samples.sqlite",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "of 12 patients are on several sides, 7 of 7 test slices of training patients" in done.stdout
    assert "not to be compared" in done.stdout
    assert "the nearest training slice names the region of" in done.stdout


def test_classifier_that_knows_only_patients_shines_if_split_by_image(tmp_path, rng):
    """Every patient looks alike on all slices, unlike any other, and all slices of one bear one region."""
    of_patient = [rng.integers(50, 900, (60, 60)) for _ in range(12)]

    def edit(number, index, image):
        image.PixelData = (of_patient[number] + rng.integers(0, 9, (60, 60))).astype(np.uint16).tobytes()

    make_hospital.hospital(tmp_path, rng, edit=edit)
    lines = (tmp_path / "annotations.csv").read_text().splitlines()
    regions = [make_hospital.ORGANS[n] for n in rng.integers(0, 3, 12)]
    rows = [line.split(",") for line in lines[1:]]
    lines[1:] = [",".join([*row[:2], regions[n // 4], *row[3:]]) for n, row in enumerate(rows)]
    (tmp_path / "annotations.csv").write_text("\n".join(lines) + "\n")
    plan = SplitPlan(by="image", shares=(0.6, 0.1, 0.3))
    _build(tmp_path, Options(plan))
    bias = measure_split_bias(tmp_path / "out" / "samples.sqlite", plan)
    assert bias.by_image == 1.0 and bias.by_patient < 0.7


def test_figures_by_patient_cannot_be_had_from_a_split_by_image(hospital):
    _build(hospital, Options(SplitPlan(by="image")))
    with (
        SampleDatabase.open(hospital / "out" / "samples.sqlite") as database,
        pytest.raises(DatabaseError, match="split by patient"),
    ):
        next(truth.read_split(database, "test"))


def test_an_image_that_stands_twice_in_a_patient_stops_a_split_by_image(tmp_path, rng):
    def still(number, index, image):
        if number == 4:
            image.PixelData = np.full((60, 60), 7, np.uint16).tobytes()[:-2] + b"\x09\x00"

    make_hospital.hospital(tmp_path, rng, edit=still)
    _build(tmp_path)
    with pytest.raises(SplitError, match=r"p4/\d and .*p4/\d hold one image, yet"):
        _build(tmp_path, Options(SplitPlan(shares=(0.4, 0.3, 0.3), by="image")), force=True)


def test_folds_are_kept_in_the_database_and_fit_together(hospital):
    tested = []
    for fold in range(4):
        _build(hospital, Options(SplitPlan(folds=4, fold=fold)), force=True)
        rows = query(hospital / "out" / "samples.sqlite", "SELECT patient, side, fold FROM split")
        tested += [row["patient"] for row in rows if row["side"] == "test"]
        assert {row["fold"] for row in rows if row["side"] == "test"} == {fold}
        assert {row["fold"] for row in rows if row["side"] == "val"} == {(fold + 1) % 4}
    assert len(tested) == len(set(tested)) == 12


def test_series_without_patient_id_is_ignored_as_no_side_is_safe_for_it(tmp_path, rng):
    def edit(number, index, image):
        if number == 4:
            image.PatientID = " "

    make_hospital.hospital(tmp_path, rng, edit=edit)
    _build(tmp_path)
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
