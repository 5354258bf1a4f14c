import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from nbcad.datasets.sppin import convert
from nbcad.dicom import read_archive, read_pixels
from nbcad.errors import InputError
from repository import run_tool
from sample_database import query

CORONAL = (
    1,
    0,
    0,
    0,
    0,
    -1,
    0,
    1,
    0,
)  # a row of the matrix is x, y, z; columns to the left, rows up, layers to the front
AXIAL = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def _volume(values, spacing, origin, direction=AXIAL):
    volume = sitk.GetImageFromArray(values)
    volume.SetSpacing(spacing)
    volume.SetOrigin(origin)
    volume.SetDirection(direction)
    return volume


def _examination(folder, rng, lesion_mm=((-30, -20, 10), (10, 20, 40)), suffix=".nii.gz", scale=1):
    """T1 coronal of 2 x 2 x 4 mm, T2 axial of 2.5 x 2.5 x 5 mm, both over 200 x 150 x 100 mm; a cuboid lesion."""
    folder.mkdir(parents=True)
    t1 = _volume(
        rng.integers(0, 900, (38, 50, 100)).astype(np.int16), (2, 2, 4), (-99, 73, 1), CORONAL
    )  # z rises with the rows, y falls with the layers
    t2 = _volume((rng.integers(0, 900, (20, 60, 80)) * scale).astype(np.float32), (2.5, 2.5, 5), (-98.75, -73.75, 2.5))
    i, j, k = np.meshgrid(np.arange(100), np.arange(50), np.arange(38), indexing="ij")
    x, y, z = -99 + 2.0 * i, 73 - 4.0 * k, 1 + 2.0 * j
    low, high = lesion_mm
    inside = (x > low[0]) & (x < high[0]) & (y > low[1]) & (y < high[1]) & (z > low[2]) & (z < high[2])
    mask = _volume(inside.transpose(2, 1, 0).astype(np.uint8), (2, 2, 4), (-99, 73, 1), CORONAL)
    dwi = _volume(rng.normal(1, 0.1, (10, 30, 40)).astype(np.float32), (5, 5, 10), (-97.5, -72.5, 5))
    for name, volume in {"T1": t1, "T2": t2, "DWI_b0": dwi, "DWI_b100": dwi, "SEG": mask}.items():
        sitk.WriteImage(volume, str(folder / f"{folder.parts[-1]}_{name}{suffix}"))


@pytest.fixture
def sppin(tmp_path, rng):
    _examination(tmp_path / "in" / "PT_1", rng)
    _examination(tmp_path / "in" / "PT_2" / "before", rng, suffix=".mha")
    _examination(tmp_path / "in" / "PT_2" / "after", rng, lesion_mm=((0, 0, 0), (0, 0, 0)))
    return tmp_path


def test_values_and_places_of_a_volume_come_through(sppin):
    convert(sppin / "in", sppin / "out")
    archive = read_archive(sppin / "out" / "PT_1")
    by_name = {s.description: s for s in archive.series}
    assert {name: s.plane for name, s in by_name.items()} == {
        "T1": "coronal", "T2": "axial", "DWI b0": "axial", "DWI b100": "axial"
    }  # fmt: skip
    assert by_name["T2"].weighting == "T2" and not by_name["T2"].phantom
    for name in ("T2", "T1", "DWI b0"):
        volume = sitk.ReadImage(str(sppin / "in" / "PT_1" / f"PT_1_{name.replace(' ', '_')}.nii.gz"))
        slices, pixels = read_pixels(by_name[name])
        step = np.ptp(pixels) / 65535  # of what is no whole number
        for image, found in zip(slices, pixels, strict=True):
            corners = [image.geometry.pixel_to_patient(*c) for c in ((0, 0), (image.rows - 1, image.columns - 1))]
            first, last = (volume.TransformPhysicalPointToIndex(corner) for corner in corners)
            columns, rows, _ = volume.GetSize()
            k = first[2]
            assert (first, last) == ((0, 0, k), (columns - 1, rows - 1, k))
            np.testing.assert_allclose(found, sitk.GetArrayFromImage(volume)[k], atol=0 if name != "DWI b0" else step)


def test_the_mask_drawn_on_t1_lies_at_the_same_place_on_t2_and_says_so(sppin):
    converted = convert(sppin / "in", sppin / "out")
    (line,) = [line for line in converted.examinations if line.startswith("PT_1")]
    assert "mask drawn on T1, 48.0 mL; on T2 48.0 mL" in line
    segmentation = pydicom.dcmread(sppin / "out" / "PT_1" / "SEG.dcm")
    assert segmentation.ContentDescription == "Mask drawn on T1, 48.0 mL; on T2 48.0 mL"


def test_images_of_a_second_conversion_are_the_same_bytes(sppin):
    convert(sppin / "in", sppin / "out")
    convert(sppin / "in", sppin / "again")
    images = sorted(p.relative_to(sppin / "out") for p in (sppin / "out").rglob("0*.dcm"))
    assert len(images) == 3 * (38 + 20 + 10 + 10)
    assert all((sppin / "out" / p).read_bytes() == (sppin / "again" / p).read_bytes() for p in images)


def test_one_command_each_makes_the_database_of_the_challenges_layout(sppin):
    (sppin / "stages.csv").write_text("patient_id,stage\nPT_1,L1\nPT_2,M\n")
    done = run_tool("convert_sppin", sppin / "in", "--out", sppin / "out")
    assert done.returncode == 0, done.stderr
    done = run_tool(
        "make_database", "--dicom", sppin / "out", "--annotations", sppin / "out", "--stages", sppin / "stages.csv",
        "--out", sppin / "samples.sqlite",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    path = sppin / "samples.sqlite"
    boxes = query(path, "SELECT stage, path, row0, col0, row1, col1 FROM lesion_box JOIN slice USING (slice)")
    assert [tuple(row) for row in query(path, "SELECT count(*), sum(lesions_known) FROM slice_label")] == [(60, 60)]
    assert {b["stage"] for b in boxes} == {"L1", "M"} and not any("after" in b["path"] for b in boxes)
    for box in boxes:  # x -30..10 mm, y -20..20 mm; the first pixel begins at -100, -75
        expected = ((-20 + 75) / 2.5, (-30 + 100) / 2.5, (20 + 75) / 2.5, (10 + 100) / 2.5)
        np.testing.assert_allclose(tuple(box)[2:], expected, atol=1)


def test_each_file_that_is_not_converted_has_its_reason(sppin, rng):
    _examination(sppin / "in" / "PT_3", rng)
    (sppin / "in" / "PT_3" / "PT_3_T2.nii.gz").unlink()
    (sppin / "in" / "PT_1" / "T2.mha").write_bytes((sppin / "in" / "PT_2" / "before" / "before_T2.mha").read_bytes())
    (sppin / "in" / "PT_1" / "other.mha").write_bytes(b"x")
    (sppin / "in" / "readme.txt").write_text("x")
    _examination(sppin / "in" / "PT_4", rng)
    (sppin / "in" / "PT_4" / "PT_4_T2.nii.gz").write_bytes(b"damaged")
    done = run_tool("convert_sppin", sppin / "in", "--out", sppin / "out")
    assert done.returncode == 3
    for text in (
        "T2 of the examination missing", "is T2 as PT_1_T2.nii.gz is; keep one", "its name says neither T1",
        "no volume", "PT_4_T2.nii.gz cannot be read",
    ):  # fmt: skip
        assert text in done.stderr, text
    assert len(done.stdout.splitlines()) == 3


def test_a_mask_on_no_images_grid_is_refused_with_the_sizes(tmp_path, rng):
    _examination(tmp_path / "in" / "PT_1", rng)
    path = tmp_path / "in" / "PT_1" / "PT_1_SEG.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(path))[:-1], str(path))
    with pytest.raises(InputError, match=r"\(99, 50, 38\).*T1 \(100, 50, 38\)"):
        convert(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_lesion_outside_t2_is_refused(tmp_path, rng):
    _examination(tmp_path / "in" / "PT_1", rng, lesion_mm=((-100, 50, 0), (-90, 80, 10)))
    volume = sitk.ReadImage(str(tmp_path / "in" / "PT_1" / "PT_1_T2.nii.gz"))
    volume.SetOrigin((-98.75, -173.75, 2.5))
    sitk.WriteImage(volume, str(tmp_path / "in" / "PT_1" / "PT_1_T2.nii.gz"))
    with pytest.raises(InputError, match="mL lie outside T2"):
        convert(tmp_path / "in", tmp_path / "out")
