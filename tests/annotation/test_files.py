import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from highdicom.seg import SegmentationTypeValues
from pydicom.data import get_testdata_file
from pydicom.sr.codedict import codes

import make_labels
from make_dicom import mr_image, write
from make_labels import FLIPPED, OBLIQUE, STRAIGHT, lesion
from nbcad.annotation.annotations import PatientLabel, read_patients
from nbcad.annotation.files import boxes, read_label_files
from nbcad.dicom import REFUSED, USED, read_archive
from nbcad.errors import InputError

PATIENTS = {"P1": PatientLabel("L2", "adrenal")}
BOX, SMALL = ("L2", (10.0, 12.0, 20.0, 30.0)), ("L2", (25.0, 5.0, 31.0, 9.0))
EXPECTED = [[], [BOX], [BOX], [BOX, SMALL], [], []]  # of make_labels.lesion


@pytest.fixture(params=[STRAIGHT, OBLIQUE, FLIPPED], ids=["straight", "oblique", "flipped"])
def images(request, tmp_path, rng):
    return make_labels.series(tmp_path / "dicom", rng, axes=request.param)


@pytest.fixture
def straight(tmp_path, rng):
    return make_labels.series(tmp_path / "dicom", rng)


def _read(path, images, patients=PATIENTS, **more):
    folder = Path(path).parent if (Path(path).parent / "dicom").is_dir() else Path(path)
    (file,) = read_label_files([path], read_archive(folder / "dicom").series, patients, **more)
    return file, [file.slices.get((image.SOPInstanceUID, 0)) for image in images]


def _lesions(said):
    return [None if one is None else sorted(one.lesions, key=lambda found: found[1]) for one in said]


def test_each_connected_part_of_a_mask_is_one_box():
    mask = np.zeros((9, 9), bool)
    mask[1:3, 2:5] = mask[3, 5] = True  # its corner touches
    mask[7, 0] = True
    assert sorted(boxes(mask)) == [(1.0, 2.0, 4.0, 6.0), (7.0, 0.0, 8.0, 1.0)]
    assert boxes(np.zeros((3, 3), bool)) == []


def test_seg_gives_the_boxes_of_its_lesions_on_the_referenced_slices(images, tmp_path):
    file, said = _read(make_labels.seg(tmp_path / "x.dcm", images, lesion()), images)
    assert (file.source, file.status, str(file.reason)) == ("seg", USED, "")
    assert _lesions(said) == EXPECTED
    assert all(one.lesions_known for one in said)
    assert [one.organ for one in said] == [None, "adrenal", "adrenal", "adrenal", None, None]


def test_slices_that_a_seg_does_not_refer_to_were_not_looked_at(straight, tmp_path):
    _, said = _read(make_labels.seg(tmp_path / "x.dcm", straight[:5], lesion()[:5]), straight)
    assert said[4].lesions_known and said[5] is None


def test_seg_of_fractions_counts_from_one_half(straight, tmp_path):
    parts = lesion() * 0.4
    parts[2, 10:20, 12:30] = 0.6
    path = make_labels.seg(tmp_path / "x.dcm", straight, parts, SegmentationTypeValues.FRACTIONAL)
    assert _lesions(_read(path, straight)[1]) == [[], [], [BOX], [], [], []]


def test_segments_that_are_no_lesions_are_left_out_or_refuse_the_seg(straight, tmp_path):
    segments = [make_labels.describe(1, "liver", codes.SCT.Liver), make_labels.describe(2, "what I found")]
    both = np.stack([np.roll(lesion(), 3, axis=1), lesion()], axis=-1)
    path = make_labels.seg(tmp_path / "x.dcm", straight, both, segments=segments)
    assert _lesions(_read(path, straight)[1]) == EXPECTED
    path = make_labels.seg(tmp_path / "y.dcm", straight, both[..., 0], segments=segments[:1])
    file, _ = _read(path, straight)
    assert file.status == REFUSED and "(0062,0002)" in str(file.reason) and "liver" in str(file.reason)
    assert _read(path, straight, lesions="LIVER")[0].status == USED


def test_seg_of_other_images_is_refused(straight, tmp_path, rng):
    others = make_labels.series(tmp_path / "elsewhere", rng, number=2)
    file, _ = _read(make_labels.seg(tmp_path / "x.dcm", others, lesion()), straight)
    assert file.status == REFUSED and "(0008,1115)" in str(file.reason)


def test_seg_whose_frames_lie_elsewhere_than_its_images_is_refused(straight, tmp_path):
    for image in straight:
        image.ImagePositionPatient[2] += 3
    file, _ = _read(make_labels.seg(tmp_path / "x.dcm", straight, lesion()), straight)
    assert file.status == REFUSED and "(0020,0032)" in str(file.reason) and "3.00 mm" in str(file.reason)


@pytest.mark.parametrize("patients", [{}, {"P1": PatientLabel("normal", None)}])
def test_a_lesion_whose_stage_is_not_known_or_normal_is_refused(straight, tmp_path, patients):
    file, _ = _read(make_labels.seg(tmp_path / "x.dcm", straight, lesion()), straight, patients)
    assert file.status == REFUSED and "stage" in str(file.reason) and "P1" not in str(file.reason)
    empty = make_labels.mask(tmp_path / "dicom" / "x.mha", straight, lesion() * 0)
    (file,) = read_label_files([empty], read_archive(tmp_path / "dicom").series, patients)
    assert file.status == USED and len(file.slices) == 6


def _rectangle(row0, col0, row1, col1):
    """Contour round the pixels of a box, on their outer edges."""
    return np.array([[row0, col0], [row0, col1], [row1, col1], [row1, col0]]) - 0.5


@pytest.mark.parametrize("refer", [True, False])
def test_structure_set_gives_boxes_by_reference_or_by_position(images, tmp_path, refer):
    contours = [(n, _rectangle(10, 12, 20, 30)) for n in (1, 2, 3)] + [(3, _rectangle(25, 5, 31, 9))]
    file, said = _read(make_labels.structures(tmp_path / "x.dcm", images, contours, refer=refer), images)
    assert (file.source, file.status, str(file.reason)) == ("rtstruct", USED, "")
    assert _lesions(said) == EXPECTED
    assert all(one.lesions_known for one in said)


def test_a_contour_within_another_is_a_hole_and_a_tiny_one_is_a_pixel(straight, tmp_path):
    ring = [(1, _rectangle(10, 12, 20, 30)), (1, _rectangle(12, 16, 18, 25)), (1, _rectangle(14, 19, 16, 22))]
    tiny = [(2, np.array([[5.1, 5.1], [5.1, 5.3], [5.3, 5.2]])), (3, _rectangle(-30, 60, -20, 70))]  # and one outside
    _, said = _read(make_labels.structures(tmp_path / "x.dcm", straight, ring + tiny), straight)
    assert _lesions(said)[1] == [BOX, ("L2", (14.0, 19.0, 16.0, 22.0))]  # what lies in the hole is one of its own
    assert _lesions(said)[2:4] == [[("L2", (5.0, 5.0, 6.0, 6.0))], []]


def test_rois_that_are_no_lesions_refuse_the_structure_set(straight, tmp_path):
    path = make_labels.structures(tmp_path / "x.dcm", straight, [(1, _rectangle(1, 1, 9, 9))], name="Heart")
    file, _ = _read(path, straight)
    assert file.status == REFUSED and "(3006,0020)" in str(file.reason) and "Heart" in str(file.reason)


def test_a_contour_off_the_plane_of_its_image_refuses_the_structure_set(straight, tmp_path):
    straight[1].ImagePositionPatient[2] += 4
    path = make_labels.structures(tmp_path / "x.dcm", straight, [(1, _rectangle(1, 1, 9, 9))])
    file, _ = _read(path, straight)
    assert file.status == REFUSED and "(3006,0050)" in str(file.reason) and "4.0 mm" in str(file.reason)


@pytest.mark.parametrize("name", ["x.mha", "x.nii.gz"])
def test_mask_beside_the_images_gives_boxes(images, tmp_path, name):
    path = make_labels.mask(tmp_path / "dicom" / name, images, lesion())
    (file,) = read_label_files([path], read_archive(tmp_path / "dicom").series, PATIENTS)
    assert (file.source, file.status, str(file.reason)) == ("mask", USED, "")
    assert _lesions([file.slices[image.SOPInstanceUID, 0] for image in images]) == EXPECTED


def test_mask_with_other_axes_than_the_images_gives_the_same_boxes(straight, tmp_path):
    path = make_labels.mask(tmp_path / "dicom" / "x.mha", straight, lesion())
    volume = sitk.PermuteAxes(sitk.Flip(sitk.ReadImage(str(path)), [True, False, True], False), [2, 0, 1])
    assert volume.GetSize() != (48, 40, 6)
    sitk.WriteImage(volume, str(path))
    (file,) = read_label_files([path], read_archive(tmp_path / "dicom").series, PATIENTS)
    assert _lesions([file.slices[image.SOPInstanceUID, 0] for image in straight]) == EXPECTED


@pytest.mark.parametrize(
    ("values", "edits", "message"),
    [
        (lesion(), {"spacing": (1.5, 2.0, 5.5)}, r"5\.5 mm"),
        (lesion(), {"spacing": (1.51, 2.0, 5.0)}, r"1\.51 x 2 x 5 mm"),
        (lesion(), {"origin": (-29.0, -20.0, 7.0)}, r"\(-29\.00, -20\.00, 7\.00\).* \(-30\.00, -20\.00, 7\.00\)"),
        (lesion()[:5], {}, "48 x 40 x 5 voxels.* 6 slices"),
        (lesion()[:, :-1], {}, "48 x 39 x 6 voxels.* 40 x 48 pixels"),
        (lesion().repeat(2, axis=0), {}, "48 x 40 x 12 voxels"),
        (np.arange(6 * 40 * 48).reshape(6, 40, 48), {}, "an image, not a mask"),
    ],
)
def test_mask_on_another_grid_is_refused_with_the_numbers(straight, tmp_path, values, edits, message):
    path = make_labels.mask(tmp_path / "dicom" / "x.mha", straight, values, **edits)
    if len(values) == 12:  # as thin as half a step
        volume = sitk.ReadImage(str(path))
        volume.SetSpacing((1.5, 2.0, 5.0))
        sitk.WriteImage(volume, str(path))
    (file,) = read_label_files([path], read_archive(tmp_path / "dicom").series, PATIENTS)
    assert file.status == REFUSED
    assert re.search(message, str(file.reason)), str(file.reason)


def test_mask_named_by_the_series_need_not_lie_beside_it(straight, tmp_path):
    path = make_labels.mask(tmp_path / "masks" / f"{straight[0].SeriesInstanceUID}.nii.gz", straight, lesion())
    (file,) = read_label_files([path], read_archive(tmp_path / "dicom").series, PATIENTS)
    assert file.status == USED and len(file.slices) == 6
    path = path.rename(path.with_name("other.nii.gz"))
    (file,) = read_label_files([path], read_archive(tmp_path / "dicom").series, PATIENTS)
    assert file.status == REFUSED and "belongs to no series" in str(file.reason)


def test_mask_that_fits_two_patients_is_refused(straight, tmp_path, rng):
    make_labels.series(tmp_path / "dicom" / "p2", rng, number=2)
    path = make_labels.mask(tmp_path / "dicom" / "x.mha", straight, lesion())
    (file,) = read_label_files([path], read_archive(tmp_path / "dicom").series, PATIENTS)
    assert file.status == REFUSED and "2 patients" in str(file.reason)


def test_real_structure_set_without_references_is_placed_by_position(tmp_path, rng):
    path = Path(get_testdata_file("rtstruct.dcm"))
    series_uid = "1.2.826.0.1.3680043.8.498.2010020400001.2.1.1"
    for index in range(3):  # a contour lies at z = -200, -190 and -180 mm
        place = (-250, -200, -200 + 10 * index)
        image = mr_image(rng.integers(50, 900, (200, 250)), place, SeriesInstanceUID=series_uid)
        write(image, tmp_path / "dicom" / str(index))
    archive = read_archive(tmp_path / "dicom")
    (file,) = read_label_files([path], archive.series, PATIENTS, lesions="^patient EXTERNAL")
    assert (file.source, file.status, str(file.reason)) == ("rtstruct", USED, "")
    found = [file.slices[image.sop_uid, 0].lesions for image in archive.series[0].slices]
    x0, y0, x1, y1 = -200, -150, 200, 150  # mm, of the first contour
    expected = ((y0 + 200) / 2, (x0 + 250) / 2, (y1 + 200) / 2, (x1 + 250) / 2)
    assert [len(boxes) for boxes in found] == [1, 1, 1]
    np.testing.assert_allclose(found[0][0][1], expected, atol=1)
    (file,) = read_label_files([path], archive.series, PATIENTS)
    assert file.status == REFUSED and "patient EXTERNAL" in str(file.reason)


def test_a_real_seg_lies_on_the_images_that_it_was_drawn_on(tmp_path, rng):
    path = Path(get_testdata_file("liver_1frame.dcm"))
    stored = pydicom.dcmread(path)
    stem = "1.2.392.200103.20080913.113635.2.2009.6.22.21.43.10"
    for index, number in enumerate((23433, 23432, 23431)):
        place = stored.PerFrameFunctionalGroupsSequence[index].PlanePositionSequence[0].ImagePositionPatient
        image = mr_image(rng.integers(50, 900, (512, 512)), place, PixelSpacing=[0.810547, 0.810547])
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"{stem}.{number}.1"
        write(image, tmp_path / "dicom" / str(index))
    archive = read_archive(tmp_path / "dicom")
    (file,) = read_label_files([path], archive.series, PATIENTS, lesions="liver")
    assert (file.source, file.status, str(file.reason)) == ("seg", USED, "")
    assert len(file.slices) == 3
    bits = np.unpackbits(np.frombuffer(stored.PixelData, np.uint8), bitorder="little")[: 512 * 512]
    largest = max(file.slices[f"{stem}.23433.1", 0].lesions, key=lambda lesion: lesion[1][2] - lesion[1][0])
    rows = np.flatnonzero(bits.reshape(512, 512).any(axis=1))
    assert rows[0] <= largest[1][0] < largest[1][2] <= rows[-1] + 1
    (file,) = read_label_files([path], archive.series, PATIENTS)
    assert file.status == REFUSED and "Liver" in str(file.reason)


def test_damaged_label_files_are_refused_with_one_line(straight, tmp_path, rng):
    whole = make_labels.seg(tmp_path / "x.dcm", straight, lesion()).read_bytes()
    made = [whole[: len(whole) * n // 9] for n in range(3, 9)]
    made += [make_labels.structures(tmp_path / "y.dcm", straight, [(1, _rectangle(1, 1, 9, 9))]).read_bytes()[:900]]
    (tmp_path / "z.mha").write_bytes(b"ObjectType = Image\nNDims = 3\n")
    paths = [tmp_path / "z.mha"]
    for number, content in enumerate(made):
        paths.append(tmp_path / f"cut{number}.dcm")
        paths[-1].write_bytes(content)
    for file in read_label_files(paths, read_archive(tmp_path / "dicom").series, PATIENTS):
        assert file.status == REFUSED and str(file.reason) and "\n" not in str(file.reason), file


def test_seg_of_another_size_is_refused_before_anything_is_allocated(straight, tmp_path):
    path = make_labels.seg(tmp_path / "x.dcm", straight, lesion())
    dataset = pydicom.dcmread(path)
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(path)
    file, _ = _read(path, straight)
    assert file.status == REFUSED and "(0028,0010)" in str(file.reason) and "65535" in str(file.reason)


def test_mask_whose_header_claims_more_than_memory_is_refused(straight, tmp_path):
    path = tmp_path / "dicom" / "x.mha"
    make_labels.mask(path, straight, lesion())
    path.write_bytes(path.read_bytes().replace(b"DimSize = 48 40 6", b"DimSize = 99999 99999 6"))
    (file,) = read_label_files([path], read_archive(tmp_path / "dicom").series, PATIENTS)
    assert file.status == REFUSED and "voxels, more than" in str(file.reason)


def test_mutated_label_files_are_used_or_refused_and_never_crash(straight, tmp_path, rng):
    """Seeded: bytes changed, cut out and doubled."""
    corner = np.array([[9.5, 11.5], [9.5, 29.5], [19.5, 29.5], [19.5, 11.5]])
    sound = [
        make_labels.seg(tmp_path / "x.dcm", straight, lesion()),
        make_labels.structures(tmp_path / "y.dcm", straight, [(1, corner), (2, corner)]),
        make_labels.mask(tmp_path / "dicom" / "z.mha", straight, lesion()),
    ]
    series = read_archive(tmp_path / "dicom").series
    statuses = []
    for path in sound:
        content = path.read_bytes()
        for _ in range(80):
            mutated = bytearray(content)
            for _ in range(int(rng.integers(1, 6))):
                at = int(rng.integers(0, len(mutated)))
                mutated[at : at + int(rng.integers(0, 5))] = rng.bytes(int(rng.integers(0, 5)))
            path.write_bytes(mutated)
            statuses += [file.status for file in read_label_files([path.parent], series, PATIENTS) if file.path == path]
        path.write_bytes(content)
    assert set(statuses) == {USED, REFUSED}


def test_folders_are_searched_and_what_is_no_label_is_passed_over(straight, tmp_path):
    make_labels.mask(tmp_path / "dicom" / "m.mha", straight, lesion())
    (tmp_path / "dicom" / "readme.txt").write_text("no label")
    (tmp_path / "dicom" / "other.csv").write_text("a,b\n1,2\n")
    files = read_label_files([tmp_path / "dicom"], read_archive(tmp_path / "dicom").series, PATIENTS)
    assert [file.source for file in files] == ["mask"]
    twice = [tmp_path / "dicom", tmp_path / "dicom" / "m.mha"]
    assert len(read_label_files(twice, read_archive(tmp_path / "dicom").series, PATIENTS)) == 1
    with pytest.raises(InputError, match="is neither"):
        read_label_files([tmp_path / "dicom" / "readme.txt"], [], {})
    with pytest.raises(InputError, match="does not exist"):
        read_label_files([tmp_path / "nowhere"], [], {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,stage\nP1,L1\n", "header"),
        ("patient_id,stage\nP1,L9\n", "line 2: stage 'L9'"),
        ("patient_id,stage,organ\nP1,L1,liver\n", "line 2: organ 'liver'"),
        ("patient_id,stage\nP1,L1\nP1,L2\n", "line 3: the patient has an earlier line"),
    ],
)
def test_malformed_table_of_patients_names_the_line_and_no_patient(tmp_path, text, message):
    (tmp_path / "stages.csv").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        read_patients(tmp_path / "stages.csv")
    assert "P1" not in str(error.value)


def test_table_of_patients_may_have_more_columns(tmp_path):
    (tmp_path / "stages.csv").write_text("patient_id,age,stage,organ\nP1,3,L1,\nP2,4,normal,thorax\n")
    assert read_patients(tmp_path / "stages.csv") == {
        "P1": PatientLabel("L1", None),
        "P2": PatientLabel("normal", "thorax"),
    }
