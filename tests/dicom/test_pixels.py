"""Pixels: the same values from every encoding, rescaled as the header says."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from make_dicom import as_stored, enhanced, mr_image, write
from nbcad.dicom import REFUSED, USED, read_archive, read_pixels
from read_dicom import only

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)
LARGE = np.random.default_rng(1).integers(0, 4000, (40, 36), dtype=np.uint16)
SYNTAXES = (
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
    JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless,
)  # fmt: skip


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("signed", [False, True])
def test_every_encoding_gives_the_same_pixels(tmp_path, syntax, signed):
    stored = LARGE.astype(np.int16) - 2000 * signed
    image = mr_image(stored, PixelRepresentation=int(signed), RescaleSlope=3, RescaleIntercept=-7)
    write(as_stored(image, syntax), tmp_path / "x")
    record, (pixels,) = only(tmp_path)
    assert record.status == USED
    np.testing.assert_array_equal(pixels[0], 3 * stored.astype(np.float32) - 7)


@pytest.mark.parametrize("syntax", [*SYNTAXES[:5], JPEGLSLossless, JPEG2000Lossless])
def test_frames_of_an_enhanced_object_are_read_in_every_encoding(tmp_path, syntax, rng):
    frames = rng.integers(0, 900, (4, 40, 36))
    images = [mr_image(f, (0, 0, -5 * n), RescaleSlope=n + 1, RescaleIntercept=n) for n, f in enumerate(frames)]
    write(as_stored(enhanced(images), syntax), tmp_path / "x")
    (series,) = read_archive(tmp_path).series
    slices, pixels = read_pixels(series)
    assert [s.frame for s in slices] == [3, 2, 1, 0] and len({s.sop_uid for s in slices}) == 1
    expected = [(n + 1) * frames[n].astype(np.float32) + n for n in (3, 2, 1, 0)]
    np.testing.assert_array_equal(pixels, expected)


def test_monochrome1_is_inverted_and_rescale_applied(tmp_path):
    write(mr_image(PIXELS, RescaleSlope=2, RescaleIntercept=-1), tmp_path / "a")
    write(mr_image(PIXELS, (0, 0, 1), PhotometricInterpretation="MONOCHROME1"), tmp_path / "b")
    _, pixels = read_pixels(read_archive(tmp_path).series[0])
    np.testing.assert_array_equal(pixels, [2 * PIXELS.astype(np.float32) - 1, -PIXELS.astype(np.float32)])


def _real_world_map(slope) -> Dataset:
    item = Dataset()
    item.RealWorldValueSlope, item.RealWorldValueIntercept = float(slope), 1.0
    item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = 0, 4095
    return item


@pytest.mark.parametrize(
    ("maps", "rescale", "factor"),
    [
        ([4], {}, 4),
        ([4], {"RescaleSlope": 2, "RescaleIntercept": 1}, 2),  # the rescaling alone makes slices comparable
        ([4, 5], {}, None),  # which of them is meant is not known
    ],
)
@pytest.mark.parametrize("as_enhanced", [False, True])
def test_real_world_map_stands_in_for_a_missing_rescaling_only(tmp_path, maps, rescale, factor, as_enhanced):
    image = mr_image(PIXELS, **rescale)
    dataset = enhanced([image]) if as_enhanced else image
    where = dataset.PerFrameFunctionalGroupsSequence[0] if as_enhanced else dataset
    where.RealWorldValueMappingSequence = [_real_world_map(slope) for slope in maps]
    write(dataset, tmp_path / "x")
    _, (pixels,) = only(tmp_path)
    expected = PIXELS if factor is None else factor * PIXELS + 1.0
    np.testing.assert_array_equal(pixels[0], expected.astype(np.float32))


def test_file_that_grows_shorter_between_header_and_pixels_is_refused(tmp_path):
    path = write(mr_image(PIXELS), tmp_path / "x")
    archive = read_archive(tmp_path)
    path.write_bytes(path.read_bytes()[:-6])
    assert read_pixels(archive.series[0])[0] == []
    assert archive.files[0].status == REFUSED
