"""Images and frames: where each lies, which are refused, and what their header tells of series and patient."""

import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from make_dicom import as_stored, enhanced, mr_image, write
from nbcad.dicom import IGNORED, REFUSED, USED, FileRecord, read_archive, read_pixels
from nbcad.language.message import verbatim
from read_dicom import only

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


def test_sound_image_beside_a_refused_one_is_used(tmp_path):
    write(mr_image(PIXELS), tmp_path / "good")
    write(mr_image(0 * PIXELS, (0, 0, 3)), tmp_path / "black")
    archive = read_archive(tmp_path)
    slices, pixels = read_pixels(archive.series[0])
    assert pixels.shape == (1, 3, 4) and slices[0].source.path.name == "good"
    assert [f.status for f in archive.files] == [REFUSED, USED]


def _with_bad_spacing(item):
    item.PixelMeasuresSequence = [Dataset()]
    item.PixelMeasuresSequence[0].PixelSpacing = [-1, 1]


def test_refused_frame_is_named_by_number_and_the_rest_is_used(tmp_path, rng):
    images = [mr_image(rng.integers(0, 900, (3, 4)), (0, 0, 5 * n)) for n in range(6)]
    images[4].PixelData = bytes(24)
    dataset = enhanced(images)
    for number in (1, 2):
        _with_bad_spacing(dataset.PerFrameFunctionalGroupsSequence[number])
    write(dataset, tmp_path / "x")
    record, pixels = only(tmp_path)
    assert (record.status, record.refused_frames, sum(map(len, pixels))) == (USED, 3, 3)
    assert str(record.reason).startswith("frames 1-2 refused: (0028,0030) Pixel Spacing is missing or not positive")
    assert "; frame 4 refused: (7FE0,0010) Pixel Data: all pixels are equal" in str(record.reason)


def test_frame_without_a_plane_gets_none_from_the_rest_of_the_object(tmp_path, rng):
    images = [mr_image(rng.integers(0, 900, (3, 4)), (0, 0, 5 * n)) for n in range(3)]
    dataset = enhanced(images)
    del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    dataset.ImagePositionPatient = [1, 2, 3]  # of no frame in particular
    write(dataset, tmp_path / "x")
    alone = [s for s in read_archive(tmp_path).series if s.slices[0].geometry is None]
    assert [s.slices[0].frame for s in alone] == [1] and "(0020,0032)" in str(alone[0].notes[0])


@pytest.mark.parametrize(
    ("edit", "used", "reason"),
    [
        (lambda d: d.PerFrameFunctionalGroupsSequence.pop(), 2, "frame 2 refused: (5200,9230) Per-frame Functional"),
        (lambda d: d.PerFrameFunctionalGroupsSequence.append(Dataset()), 0, "(5200,9230) Per-frame Functional Groups"),
        (lambda d: delattr(d, "PerFrameFunctionalGroupsSequence"), 0, "(5200,9230) Per-frame Functional Groups"),
        (lambda d: setattr(d, "NumberOfFrames", 4), 0, "(7FE0,0010) Pixel Data is cut short: 72 of 96 bytes"),
        (lambda d: setattr(d, "NumberOfFrames", 10**8), 0, "(0028,0008) Number of Frames is 100000000; at most"),
    ],
)  # fmt: skip
def test_frames_and_functional_groups_must_agree(tmp_path, rng, edit, used, reason):
    dataset = enhanced([mr_image(rng.integers(0, 900, (3, 4)), (0, 0, 5 * n)) for n in range(3)])
    edit(dataset)
    write(dataset, tmp_path / "x")
    record, pixels = only(tmp_path)
    assert sum(map(len, pixels)) == used
    assert (record.status == USED) == (used > 0) and str(record.reason).startswith(reason)


@pytest.mark.parametrize(
    ("creator", "group", "element", "vr", "value"),
    [
        ("SIEMENS MR HEADER", 0x0019, 0x0C, "IS", 800),
        ("GEMS_PARM_01", 0x0043, 0x39, "IS", [1000000800, 8, 0, 0]),
        ("Philips Imaging DD 001", 0x2001, 0x03, "FL", 800.0),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_b_value_is_found_where_vendors_keep_it(tmp_path, creator, group, element, vr, value, syntax):
    image = mr_image(PIXELS)
    image.private_block(group, creator, create=True).add_new(element, vr, value)
    write(as_stored(image, syntax), tmp_path / "x")
    (series,) = read_archive(tmp_path).series
    assert (series.b_value, series.weighting) == (800, "DWI")


def test_private_b_value_that_cannot_be_read_is_not_known(tmp_path):
    image = mr_image(PIXELS)
    image.private_block(0x2001, "Philips Imaging DD 001", create=True).add_new(0x03, "FL", 800.0)
    path = write(image, tmp_path / "x")
    data = path.read_bytes()
    sound = b"\x01\x20\x03\x10FL\x04\x00" + struct.pack("<f", 800)
    path.write_bytes(data.replace(sound, b"\x01\x20\x03\x10FL\x03\x00abc"))
    archive = read_archive(tmp_path)
    assert (archive.files[0].status, archive.series[0].b_value) == (USED, None)


@pytest.mark.parametrize(
    ("elements", "weighting"),
    [
        ({}, "T2"),
        ({"SeriesDescription": "t1_vibe_tra"}, "T1"),
        ({"SeriesDescription": "ep2d_diff_b1000"}, "DWI"),
        ({"SeriesDescription": "axial", "EchoTime": 90, "RepetitionTime": 3000}, "T2"),
        ({"SeriesDescription": "axial", "EchoTime": 10, "RepetitionTime": 500}, "T1"),
        ({"SeriesDescription": "axial"}, ""),
        ({"DiffusionBValue": 800.0}, "DWI"),
        ({"DiffusionBValue": 0.0, "ScanningSequence": ["EP", "SE"]}, "DWI"),
        ({"DiffusionBValue": 0.0}, "T2"),  # some scanners write it into every image
        ({"AcquisitionContrast": "T1"}, "T1"),
    ],
)
def test_weighting_comes_from_b_value_description_or_times(tmp_path, elements, weighting):
    write(mr_image(PIXELS, **elements), tmp_path / "x")
    assert read_archive(tmp_path).series[0].weighting == weighting


def test_record_of_a_file_tells_of_its_frames_by_what_became_of_them():
    record = FileRecord("x")
    record.frames = 6
    assert (record.status, str(record.reason)) == (USED, "")
    for frame in (4, 0, 1):
        record.set_aside(IGNORED, verbatim("not asked for"), frame)
    record.set_aside(REFUSED, verbatim("black"), 3)
    record.set_aside(REFUSED, verbatim("too late"), 0)
    assert (record.status, record.refused_frames) == (USED, 1)
    assert str(record.reason) == "frames 0-1, 4 ignored: not asked for; frame 3 refused: black"
    record.set_aside(IGNORED, verbatim("not asked for"))
    assert record.status == REFUSED
    assert FileRecord("y", IGNORED, verbatim("why")).reason == verbatim("why")
