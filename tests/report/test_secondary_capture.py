"""Secondary captures: the evidence as it is on the page, with what must be read beside it."""

import numpy as np
import pydicom
import pytest

from make_analysis import lesion, report_of
from make_dicom import enhanced, write
from make_objects import image_of_study, only_series, write_objects, write_stack
from nbcad.dicom import read_archive
from nbcad.imaging.orientation import Canonical
from nbcad.report import DicomWriter
from nbcad.report.entries import software
from nbcad.report.pictures import evidence
from nbcad.report.secondary_capture import orientation


@pytest.mark.parametrize("spacing", [[2, 2], [1, 3]])
def test_capture_shows_the_evidence_and_has_burned_in_what_it_is_for(blind, tmp_path, spacing):
    write_stack(tmp_path / "in", PixelSpacing=spacing)
    kept = []
    writer = DicomWriter(software(blind), tmp_path / "out")

    def finish(patient):
        writer.write(patient)
        kept.extend(found for *_, found in patient.series())

    report = report_of(tmp_path / "in", blind, finish)
    index = int(np.argmax([s.tumour_probability for s in only_series(report).slices]))
    capture = pydicom.dcmread(tmp_path / "out" / "0001-01.sc.dcm")
    expected = evidence(kept[0], index)[..., ::-1]
    height, width = expected.shape[:2]
    shown = capture.pixel_array
    differ = (shown[:height, :width] != expected).any(axis=2)
    assert 0 < differ.mean() < 0.01  # the letters at the edges
    assert (shown[height:].max(axis=(1, 2)) > 200).any() and capture.BurnedInAnnotation == "YES"
    np.testing.assert_allclose(np.multiply(capture.PixelSpacing, (height, width)), np.multiply(spacing, (48, 40)))
    (source,) = capture.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == only_series(report).slices[index].sop_uid
    assert capture.ConversionType == "WSD" and "Research use only" in capture.DerivationDescription


def test_capture_of_a_frame_refers_to_it_by_number(blind, tmp_path):
    write(enhanced([image_of_study(n) for n in range(3)]), tmp_path / "in" / "x")
    write_objects(tmp_path / "in", blind, tmp_path / "out", [lesion({2: (2, 2, 9, 9)})])
    (source,) = pydicom.dcmread(tmp_path / "out" / "0001-01.sc.dcm").SourceImageSequence
    assert source.ReferencedFrameNumber == 3


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ([1, 0, 0, 0, 1, 0], ("L", "P")),
        ([-1, 0, 0, 0, 1, 0], ("L", "P")),
        ([0, -1, 0, 1, 0, 0], ("L", "P")),
        ([0, 1, 0, 0, 0, -1], ("P", "F")),
        ([1, 0, 0, 0, 0, 1], ("L", "H")),
    ],
)
def test_orientation_is_that_of_the_picture_and_not_of_the_image(tmp_path, axes, expected):
    write(image_of_study(0, ImageOrientationPatient=axes), tmp_path / "x")
    (series,) = read_archive(tmp_path).series
    image = series.slices[0]
    assert orientation(image) == expected
    # against the coordinates themselves: how a step right and a step down in the turned image move in the patient
    turn, shape = Canonical.of(image.geometry), (image.rows, image.columns)
    places = [turn.box_to_stored((r, c, r, c), shape)[:2] for r, c in ((5, 5), (5, 6), (6, 5))]
    start, right, down = (image.geometry.pixel_to_patient(*place) for place in places)
    directions = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "H": (2, 1), "F": (2, -1)}
    for step, letter in zip((right - start, down - start), expected, strict=True):
        axis, sign = directions[letter]
        assert np.argmax(np.abs(step)) == axis and np.sign(step[axis]) == sign
