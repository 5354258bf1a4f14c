"""A sample database of labels of all kinds: each with its source, contradictions by name."""

import hashlib
from pathlib import Path

import numpy as np
import pydicom
import pytest

import make_labels
from make_dicom import write
from nbcad.annotation.annotations import HEADER
from nbcad.samples import build, sampling
from sample_database import query


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
