"""Images that share a series but not a stack are told apart, and nothing but a second copy is dropped."""

import numpy as np
import pytest

from make_dicom import enhanced, mr_image, write
from nbcad.dicom import REFUSED, USED, read_archive, read_sources

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)
CORONAL = [1, 0, 0, 0, 0, -1]


def _image(rng, z=0.0, **elements):
    """An image that no other is a copy of."""
    return mr_image(rng.integers(0, 900, PIXELS.shape), (0, 0, z), **elements)


def _read(images, folder, as_enhanced=False):
    """The series of images that are stored one after another, or as one Enhanced object."""
    if as_enhanced:
        write(enhanced(images), folder / "all")
    else:
        for number, image in enumerate(images):
            write(image, folder / f"{number:03d}")
    archive = read_archive(folder)
    assert sum(len(s.slices) for s in archive.series) + sum(f.refused_frames for f in archive.files) == len(images)
    return archive


def _heights(series):
    return [float(image.geometry.position[2]) for image in series.slices]


@pytest.mark.parametrize("as_enhanced", [False, True])
@pytest.mark.parametrize(
    ("keyword", "values", "names"),
    [
        ("DiffusionBValue", [0.0, 1000.0], {"b 0 s/mm2", "b 1000 s/mm2"}),
        ("EchoTime", [20, 90], {"echo 20 ms", "echo 90 ms"}),
        ("TemporalPositionIdentifier", [1, 2], {"temporal position 1", "temporal position 2"}),
    ],
)
def test_contrasts_and_phases_at_one_place_are_stacks_of_their_own(tmp_path, rng, keyword, values, names, as_enhanced):
    images = [_image(rng, z, **{keyword: value}) for z in (0, 5, 10) for value in values]
    series = _read(images, tmp_path, as_enhanced).series
    assert [_heights(s) for s in series] == [[0, 5, 10]] * 2
    assert {str(s.stack) for s in series} == names
    assert [s.slice_step_mm for s in series] == [5, 5]


@pytest.mark.parametrize(
    ("elements", "names"),
    [
        ([{"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}], {"acquisition 1", "acquisition 2"}),
        ([{"ImageType": ["DERIVED", part]} for part in "MP"], {"image type DERIVED\\M", "image type DERIVED\\P"}),
        ([{"InstanceNumber": 1}, {"InstanceNumber": 7}], {"image 1 of each place", "image 2 of each place"}),
    ],
)  # fmt: skip
def test_images_at_one_place_are_told_apart_by_the_first_mark_that_does(tmp_path, rng, elements, names):
    images = [_image(rng, z, **own) for z in (0, 5, 10) for own in elements]
    series = _read(images, tmp_path).series
    assert [len(s.slices) for s in series] == [3, 3]
    assert {str(s.stack) for s in series} == names


def test_mark_that_does_not_tell_places_apart_splits_nothing(tmp_path, rng):
    """Odd and even slices are often two acquisitions; a copy on one of them must not tear the stack apart."""
    images = [_image(rng, 5 * n, AcquisitionNumber=1 + n % 2) for n in range(6)]
    again = mr_image(PIXELS, (0, 0, 5), AcquisitionNumber=2)
    series = _read([*images, again], tmp_path).series
    assert sorted(len(s.slices) for s in series) == [1, 6]


def test_order_within_a_place_follows_the_instance_number(tmp_path, rng):
    late = [_image(rng, z, InstanceNumber=10 + z) for z in (0, 5)]
    early = [_image(rng, z, InstanceNumber=1 + z) for z in (0, 5)]
    first, second = _read([*late, *early], tmp_path).series
    assert [s.sop_uid for s in first.slices] == [i.SOPInstanceUID for i in early]
    assert [s.sop_uid for s in second.slices] == [i.SOPInstanceUID for i in late]
    assert "(0020,0013)" in str(first.notes[0])


def test_directions_that_differ_in_the_last_digits_are_one_stack(tmp_path, rng):
    images = [_image(rng, z, ImageOrientationPatient=[1, d, 0, -d, 1, 0]) for z, d in ((0, 4.9e-4), (5, 5.1e-4))]
    (series,) = _read(images, tmp_path).series
    assert series.slice_step_mm == pytest.approx(5, abs=0.01)


def test_planes_sizes_and_spacings_are_named_where_they_differ(tmp_path, rng):
    images = [
        _image(rng),
        _image(rng, ImageOrientationPatient=CORONAL),
        _image(rng, PixelSpacing=[1, 1]),
        mr_image(PIXELS.T.copy(), (0, 0, 9)),
    ]
    series = _read(images, tmp_path).series
    assert len({s.stack for s in series}) == 4
    assert any(str(s.stack).startswith("coronal") for s in series)
    assert any("1 x 1 mm" in str(s.stack) for s in series)
    assert any("4 rows, 3 columns" in str(s.stack) for s in series)


@pytest.mark.parametrize(
    ("heights", "parts"),
    [
        ([0, 5, 10, 30, 35], [[0, 5, 10], [30, 35]]),
        ([0, 5, 10, 16, 21], [[0, 5, 10, 16, 21]]),  # uneven by a fifth
        ([0, 10, 15], [[0], [10, 15]]),
        ([0, 5, 30, 100], [[0, 5], [30], [100]]),
    ],
)
def test_gap_splits_a_stack_and_is_told(tmp_path, rng, heights, parts):
    series = _read([_image(rng, z) for z in heights], tmp_path).series
    assert sorted(_heights(s) for s in series) == parts
    for one in series:
        assert bool(one.stack) == any("gap" in str(note) for note in one.notes) == (len(parts) > 1)


def test_stack_of_a_gap_is_the_same_when_it_is_read_again_alone(tmp_path, rng):
    for series in _read([_image(rng, z) for z in (0, 4, 9, 12, 30, 33, 38)], tmp_path).series:
        (same,) = read_sources([image.source for image in series.slices]).series
        assert _heights(same) == _heights(series)


def test_copy_under_another_uid_is_refused_and_a_second_image_is_not(tmp_path, rng):
    write(mr_image(PIXELS), tmp_path / "a")
    write(mr_image(PIXELS), tmp_path / "b")
    write(_image(rng), tmp_path / "c")
    archive = read_archive(tmp_path)
    assert [f.status for f in archive.files] == [USED, REFUSED, USED]
    assert "(0020,0032)" in str(archive.files[1].reason) and str(tmp_path / "a") in str(archive.files[1].reason)
    assert [len(s.slices) for s in archive.series] == [1, 1]


def test_file_with_the_uid_of_another_is_refused_naming_it(tmp_path, rng):
    image = _image(rng)
    for name in "ab":
        write(image, tmp_path / name)
    archive = read_archive(tmp_path)
    assert [f.status for f in archive.files] == [USED, REFUSED]
    assert str(archive.files[1].reason) == f"(0008,0018) SOP Instance UID is that of {tmp_path / 'a'}"


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_images_without_a_place_stand_alone_and_say_why(tmp_path, rng, missing):
    archive = _read([_image(rng, z, **{missing: None}) for z in (0, 5)], tmp_path)
    assert [(len(s.slices), s.plane, s.slice_step_mm) for s in archive.series] == [(1, "", None)] * 2
    tag = {"ImagePositionPatient": "(0020,0032)", "ImageOrientationPatient": "(0020,0037)"}[missing]
    assert all(tag in str(s.notes[0]) and "no millimetres" in str(s.notes[0]) for s in archive.series)
    assert len({s.stack for s in archive.series}) == 2


def test_patients_who_share_a_series_uid_are_not_mixed(tmp_path, rng):
    series = _read([_image(rng, PatientID="A"), _image(rng, 5, PatientID="B")], tmp_path).series
    assert [(s.patient_id, len(s.slices)) for s in series] == [("A", 1), ("B", 1)]
