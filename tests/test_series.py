import zipfile

import numpy as np
import pydicom
import pytest

from make_dicom import mr_image, write
from nbcad.errors import InputError
from nbcad.series import IGNORED, REFUSED, USED, read_archive, read_pixels

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)


def test_slices_are_sorted_along_the_normal_whatever_their_names(tmp_path):
    for name, z in (("a", 10.0), ("b", -5.0), ("c", 2.5)):
        write(mr_image(PIXELS, (0, 0, z)), tmp_path / name)
    (series,) = read_archive(tmp_path).series
    assert [s.geometry.position[2] for s in series.slices] == [-5.0, 2.5, 10.0]
    assert series.slice_step_mm == 7.5


def test_pixel_to_patient_follows_position_orientation_and_spacing(tmp_path):
    image = mr_image(
        PIXELS, (10, 20, 30), ImageOrientationPatient=[0, 1, 0, 0, 0, -1], PixelSpacing=[0.5, 3]
    )  # coronal-like plane: columns run to posterior, rows to feet
    write(image, tmp_path / "x")
    (series,) = read_archive(tmp_path).series
    np.testing.assert_allclose(series.slices[0].geometry.pixel_to_patient(2, 1), [10, 23, 29])
    assert series.plane == "sagittal"


def test_series_is_split_where_plane_size_or_b_value_differ(tmp_path):
    write(mr_image(PIXELS, (0, 0, 0)), tmp_path / "axial")
    write(mr_image(PIXELS, (0, 0, 5), ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), tmp_path / "coronal")
    write(mr_image(PIXELS.T.copy(), (0, 0, 5)), tmp_path / "size")
    write(mr_image(PIXELS, (0, 0, 0), DiffusionBValue=1000.0), tmp_path / "b1000")
    archive = read_archive(tmp_path)
    assert len(archive.series) == 4
    assert {f.status for f in archive.files} == {USED}


def test_second_image_at_one_place_is_refused_naming_the_first(tmp_path):
    write(mr_image(PIXELS), tmp_path / "a")
    write(mr_image(PIXELS), tmp_path / "b")
    archive = read_archive(tmp_path)
    (refused,) = [f for f in archive.files if f.status == REFUSED]
    assert "(0020,0032)" in refused.reason
    assert len(archive.series[0].slices) == 1


@pytest.mark.parametrize(
    ("elements", "tag"),
    [
        ({"SOPClassUID": pydicom.uid.CTImageStorage}, "(0008,0016)"),
        ({"PixelSpacing": None}, "(0028,0030)"),
        ({"PixelSpacing": [0, 1]}, "(0028,0030)"),
        ({"PhotometricInterpretation": "RGB"}, "(0028,0004)"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "(0020,0037)"),
        ({"NumberOfFrames": 2}, "(0028,0008)"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "(0008,0008)"),
        ({"SeriesInstanceUID": None}, "(0020,000E)"),
        ({"PixelSpacing": [1, 900]}, "(0028,0030)"),
    ],
)
def test_image_that_cannot_be_analysed_is_refused_by_its_tag(tmp_path, elements, tag):
    write(mr_image(PIXELS, **elements), tmp_path / "x")
    archive = read_archive(tmp_path)
    assert archive.series == []
    assert archive.files[0].status == REFUSED
    assert tag.lower() in archive.files[0].reason.lower()


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda d: setattr(d, "PixelData", d.PixelData[:6]), "cut short: 6 of 24 bytes"),
        (lambda d: setattr(d, "PixelData", bytes(24)), "all pixels are equal"),
        (lambda d: d.update({"RescaleSlope": "1e300", "RescaleIntercept": "0"}), "(0028,1053)"),
    ],
)
def test_image_without_sound_pixels_is_refused_when_read(tmp_path, edit, reason):
    bad = mr_image(PIXELS, (0, 0, 3))
    edit(bad)
    write(bad, tmp_path / "bad")
    write(mr_image(PIXELS), tmp_path / "good")
    archive = read_archive(tmp_path)
    slices, pixels = read_pixels(archive.series[0])
    assert pixels.shape == (1, 3, 4) and len(slices) == 1
    assert [reason in f.reason for f in archive.files if f.status == REFUSED] == [True]


def test_monochrome1_is_inverted_and_rescale_applied(tmp_path):
    write(mr_image(PIXELS, RescaleSlope=2, RescaleIntercept=-1), tmp_path / "a")
    write(mr_image(PIXELS, (0, 0, 1), PhotometricInterpretation="MONOCHROME1"), tmp_path / "b")
    _, pixels = read_pixels(read_archive(tmp_path).series[0])
    np.testing.assert_array_equal(pixels, [2 * PIXELS.astype(np.float32) - 1, -PIXELS.astype(np.float32)])


def test_zip_and_single_file_are_read_like_a_folder(tmp_path):
    path = write(mr_image(PIXELS), tmp_path / "in" / "x.dcm")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(path, "deep/er/x.dcm")
    for given in (path, tmp_path / "in", tmp_path / "in.zip"):
        (series,) = read_archive(given).series
        np.testing.assert_array_equal(read_pixels(series)[1][0], PIXELS)


def test_other_files_are_ignored_with_a_reason(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "empty").touch()
    assert [(f.status, bool(f.reason)) for f in read_archive(tmp_path).files] == [(IGNORED, True)] * 2


def test_missing_or_empty_input_is_one_error(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_archive(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no file"):
        read_archive(tmp_path)


@pytest.mark.parametrize(
    ("elements", "weighting"),
    [
        ({}, "T2"),
        ({"SeriesDescription": "t1_vibe_tra"}, "T1"),
        ({"SeriesDescription": "ep2d_diff_b1000"}, "DWI"),
        ({"SeriesDescription": "axial", "EchoTime": 90, "RepetitionTime": 3000}, "T2"),
        ({"SeriesDescription": "axial", "EchoTime": 10, "RepetitionTime": 500}, "T1"),
        ({"SeriesDescription": "axial"}, ""),
    ],
)
def test_weighting_comes_from_description_or_times(tmp_path, elements, weighting):
    write(mr_image(PIXELS, **elements), tmp_path / "x")
    (series,) = read_archive(tmp_path).series
    assert series.weighting == weighting


@pytest.mark.parametrize(
    ("elements", "months"),
    [
        ({"PatientAge": "017M"}, 17),
        ({"PatientAge": "003Y"}, 36),
        ({"PatientAge": "070W"}, 16),
        ({"PatientBirthDate": "20200115", "StudyDate": "20210714"}, 17),
        ({}, None),
    ],
)
def test_age_in_months_comes_from_age_or_dates(tmp_path, elements, months):
    write(mr_image(PIXELS, **elements), tmp_path / "x")
    assert read_archive(tmp_path).series[0].age_months == months
