import csv
from collections import Counter

import numpy as np
import pydicom
import pytest

from nbcad import phantom
from nbcad.annotations import read_annotations
from nbcad.errors import InputError
from nbcad.series import read_archive, read_pixels

SLICES = 14


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom") / "three"
    phantom.generate(out, 3, seed=5, workers=1, max_slices=SLICES)
    return out


def _bytes(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_same_seed_gives_the_same_bytes_whatever_the_workers(made, tmp_path):
    phantom.generate(tmp_path / "again", 3, seed=5, workers=2, max_slices=SLICES)
    assert _bytes(made) == _bytes(tmp_path / "again")


def test_every_image_is_annotated_read_and_marked_as_a_phantom(made):
    archive = read_archive(made / "dicom")
    assert {f.status for f in archive.files} == {"used"}
    assert all(
        series.phantom and series.plane == "axial" and series.age_months is not None for series in archive.series
    )
    uids = {(s.sop_uid, 0) for series in archive.series for s in series.slices}
    assert uids == set(read_annotations(made / "annotations.csv"))


def test_each_study_has_t2_t1_and_diffusion_with_even_steps(made):
    archive = read_archive(made / "dicom")
    weightings = Counter((s.patient_id, s.weighting) for s in archive.series)
    assert {w for _, w in weightings} == {"T1", "T2", "DWI"}
    assert all(count == (2 if w == "DWI" else 1) for (_, w), count in weightings.items())
    for series in archive.series:
        places = [s.geometry.position @ s.geometry.normal for s in series.slices]
        np.testing.assert_allclose(np.diff(places), series.slice_step_mm, atol=0.02)


def test_lesions_are_brighter_than_the_median_body_on_t2(made):
    annotations = read_annotations(made / "annotations.csv")
    seen = 0
    for series in read_archive(made / "dicom").series:
        if series.weighting != "T2":
            continue
        for image, pixels in zip(*read_pixels(series), strict=True):
            for _, (row0, col0, row1, col1) in annotations[image.sop_uid, 0].lesions:
                inside = pixels[int(row0) : int(row1), int(col0) : int(col1)]
                assert inside.max() > 1.3 * np.median(pixels[pixels > 0.1 * pixels.max()])
                seen += 1
    assert seen > 3


def test_stage_and_age_agree_and_shares_follow_the_plan():
    people = phantom.list_patients(100, seed=1)
    shares = Counter(person.stage for person in people)
    assert set(shares) == {"normal", "L1", "L2", "M", "MS"}
    assert 25 <= shares["normal"] <= 35 and shares["MS"] >= 9


def test_ms_is_given_to_infants_only(tmp_path):
    phantom.generate(tmp_path / "x", 12, seed=2, workers=2, max_slices=2)
    with (tmp_path / "x" / "patients.csv").open() as file:
        rows = list(csv.DictReader(file))
    ages = [int(row["age_months"]) for row in rows if row["stage"] == "MS"]
    assert ages and max(ages) < 18


def test_vendors_can_be_left_out(tmp_path):
    phantom.generate(tmp_path / "x", 2, seed=1, vendors=("ge",), workers=1, max_slices=2)
    makers = {pydicom.dcmread(p).Manufacturer for p in (tmp_path / "x" / "dicom").rglob("*") if p.is_file()}
    assert len(makers) == 1
    with pytest.raises(InputError, match="nobody"):
        phantom.generate(tmp_path / "y", 1, seed=1, vendors=("nobody",))


def test_stored_orientations_and_sizes_vary(tmp_path):
    phantom.generate(tmp_path / "x", 8, seed=4, workers=2, max_slices=2)
    series = read_archive(tmp_path / "x" / "dicom").series
    assert len({tuple(np.sign(np.round(s.slices[0].geometry.along_row, 1))) for s in series}) > 1
    assert len({s.slices[0].rows for s in series}) > 2
