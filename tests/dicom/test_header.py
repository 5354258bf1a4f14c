"""Headers: what no image could be made of is refused by tag and value, and no header costs more than its file."""

import os
import struct
import time
import zlib

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRColorImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from make_dicom import as_stored, enhanced, mr_image, write
from nbcad.dicom import IGNORED, REFUSED, USED, header, read_archive, read_pixels
from read_dicom import only

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)
LARGE = np.random.default_rng(1).integers(0, 4000, (40, 36), dtype=np.uint16)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"SOPClassUID": CTImageStorage}, "(0008,0016) SOP Class UID is CT Image Storage"),
        ({"SOPClassUID": EnhancedMRColorImageStorage}, "(0008,0016) SOP Class UID is Enhanced MR Color Image Storage"),
        ({"SOPClassUID": None}, "(0008,0016) SOP Class UID is missing"),
        ({"Modality": "CT"}, "(0008,0060) Modality is CT"),
        ({"PixelSpacing": None}, "(0028,0030) Pixel Spacing is missing"),
        ({"PixelSpacing": [0, 1]}, "(0028,0030) Pixel Spacing is missing or not positive"),
        ({"PixelSpacing": [1, 900]}, "(0028,0030) Pixel Spacing [1.0, 900.0]"),
        ({"PhotometricInterpretation": "RGB"}, "(0028,0004) Photometric Interpretation is RGB"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "(0028,0004) Photometric Interpretation is PALETTE COLOR"),
        ({"SamplesPerPixel": 3}, "(0028,0002) Samples per Pixel is 3"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "(0020,0037) Image Orientation (Patient) [1.0, 0.0"),
        ({"ImageOrientationPatient": ["1e200"] * 6}, "(0020,0037) Image Orientation (Patient) [1e+200"),
        ({"ImagePositionPatient": ["1e300", 0, 0]}, "(0020,0032) Image Position (Patient) [1e+300, 0.0, 0.0] is"),
        ({"NumberOfFrames": 2}, "(0028,0008) Number of Frames is 2 in an object of MR Image Storage"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "(0008,0008) Image Type is MOSAIC"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "VFRAME"]}, "(0008,0008) Image Type is VFRAME"),
        ({"SeriesInstanceUID": None}, "(0020,000E) Series Instance UID is missing"),
        ({"Rows": 0}, "(0028,0010) Rows is missing"),
        ({"BitsAllocated": 12}, "(0028,0100) Bits Allocated is 12"),
        ({"BitsStored": 17}, "(0028,0101) Bits Stored is 17"),
        ({"PixelRepresentation": None}, "(0028,0103) Pixel Representation is missing"),
        ({"RescaleSlope": 0, "RescaleIntercept": 0}, "(0028,1053) Rescale Slope is 0"),
        ({"ModalityLUTSequence": [Dataset()]}, "(0028,3000) Modality LUT Sequence"),
        ({"PixelData": None}, "(7FE0,0010) Pixel Data is missing"),
        ({"PixelData": bytes(6)}, "(7FE0,0010) Pixel Data is cut short: 6 of 24 bytes"),
        ({"PixelData": bytes(24)}, "(7FE0,0010) Pixel Data: all pixels are equal, 0"),
        ({"PixelData": b"\x05\x00" * 12}, "(7FE0,0010) Pixel Data: all pixels are equal, 5"),
        ({"RescaleSlope": "1e300", "RescaleIntercept": "0"}, "(0028,1053) Rescale Slope 1e+300"),
        ({"RescaleSlope": "1e-300", "RescaleIntercept": "7"}, "(0028,1053) Rescale Slope 1e-300 makes all pixels"),
    ],
)  # fmt: skip
def test_image_that_cannot_be_analysed_is_refused_by_tag_and_value(tmp_path, elements, reason):
    write(mr_image(PIXELS, **elements), tmp_path / "x")
    record, pixels = only(tmp_path)
    assert record.status == REFUSED and str(record.reason).startswith(reason), str(record.reason)
    assert not any(map(len, pixels))


@pytest.mark.parametrize(
    ("creator", "group", "element", "vr"),
    [("SIEMENS MR HEADER", 0x0019, 0x0A, "US"), ("Image Private Header", 0x0065, 0x50, "DS")],
)
def test_grid_of_slices_is_refused_by_the_number_that_its_maker_writes(tmp_path, creator, group, element, vr):
    for name, count in (("grid", 20), ("single", 1)):
        image = mr_image(PIXELS, ImageType=["ORIGINAL", "PRIMARY", "M"] + ["VFRAME"] * (name == "single"))
        image.private_block(group, creator, create=True).add_new(element, vr, count)
        write(image, tmp_path / name / "x")
    record, _ = only(tmp_path / "grid")
    assert (record.status, str(record.reason)) == (
        REFUSED, f"({group:04X},10{element:02X}) tells of 20 slices in one plane",
    )  # fmt: skip
    assert only(tmp_path / "single")[0].status == USED


def test_enhanced_object_has_a_frame_a_slice_even_if_it_was_a_mosaic_once(tmp_path, rng):
    dataset = enhanced([mr_image(rng.integers(0, 900, (3, 4)), (0, 0, 5 * n)) for n in range(3)])
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    write(dataset, tmp_path / "x")
    record, pixels = only(tmp_path)
    assert (record.status, sum(map(len, pixels))) == (USED, 3)


@pytest.mark.parametrize(("shape", "used"), [((480, 150), True), ((700, 10), False), ((500, 500), False)])
def test_composed_whole_body_is_an_image_and_a_wrong_spacing_is_none(tmp_path, rng, shape, used):
    write(mr_image(rng.integers(0, 900, shape), PixelSpacing=[4, 4]), tmp_path / "x")
    record, _ = only(tmp_path)
    assert (record.status == USED) == used and ("wider than any MR" in str(record.reason)) != used


def test_unreadable_value_that_is_not_needed_counts_as_not_known(tmp_path):
    path = write(mr_image(PIXELS, EchoTime="90", RepetitionTime="4000", SeriesDescription="x"), tmp_path / "x")
    path.write_bytes(path.read_bytes().replace(b"DS\x02\x0090", b"DS\x02\x00x?"))
    archive = read_archive(tmp_path)
    assert (archive.files[0].status, archive.series[0].weighting) == (USED, "")


def test_file_without_preamble_is_read_if_it_parses_as_an_mr_image(tmp_path):
    for name, syntax in (("a", ImplicitVRLittleEndian), ("b", ExplicitVRLittleEndian), ("c", ExplicitVRBigEndian)):
        image = as_stored(mr_image(PIXELS, (0, 0, ord(name))), syntax)
        path = write(image, tmp_path / name)
        data = path.read_bytes()
        meta_length = struct.unpack_from("<L", data, 140)[0]
        path.write_bytes(data[132:] if name == "b" else data[144 + meta_length :])  # with and without meta information
    (tmp_path / "d").write_bytes(b"\x08\x00\x05\x00CS" + bytes(300))
    (tmp_path / "e").write_bytes(b"\x08\x00" + os.urandom(500))
    archive = read_archive(tmp_path)
    assert [f.status for f in archive.files] == [USED, USED, USED, IGNORED, IGNORED]
    np.testing.assert_array_equal(read_pixels(archive.series[0])[1], [PIXELS] * 3)


def test_declared_size_is_checked_before_anything_is_allocated(tmp_path):
    write(mr_image(PIXELS, Rows=65535, Columns=65535, PixelSpacing=[0.001, 0.001]), tmp_path / "x")
    record, _ = only(tmp_path)
    assert str(record.reason).startswith("(0028,0010) Rows 65535, (0028,0011) Columns 65535")
    assert "at most 2 GiB" in str(record.reason)


def test_syntax_that_is_not_read_is_refused_by_name(tmp_path):
    image = as_stored(mr_image(LARGE), RLELossless)
    image.file_meta.TransferSyntaxUID = MPEG2MPML
    write(image, tmp_path / "x")
    assert "(0002,0010) Transfer Syntax UID is 1.2.840.10008.1.2.4.100, which is not read" in str(
        only(tmp_path)[0].reason
    )


def test_deflated_data_set_is_inflated_within_bounds(tmp_path, monkeypatch):
    path = write(as_stored(mr_image(PIXELS), DeflatedExplicitVRLittleEndian), tmp_path / "x")
    monkeypatch.setattr(header, "LARGEST_INFLATED", 1 << 20)
    assert only(tmp_path)[0].status == USED
    data = path.read_bytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(
        data[: 144 + struct.unpack_from("<L", data, 140)[0]] + packer.compress(bytes(9 << 20)) + packer.flush()
    )
    record, _ = only(tmp_path)
    assert record.status == REFUSED and "(0002,0010) Transfer Syntax UID is deflated" in str(record.reason)


@pytest.mark.parametrize(
    "before",
    [b"", bytes(128) + b"DICM" + b"\x02\x00\x01\x00OB\x00\x00" + struct.pack("<L", 2048) + bytes(2048)],
    ids=["no preamble", "late in the meta information"],
)
def test_deflated_data_set_at_an_unusual_place_is_never_inflated(tmp_path, monkeypatch, before):
    monkeypatch.setattr(zlib, "decompress", lambda *_: pytest.fail("inflated without a bound"))
    syntax = DeflatedExplicitVRLittleEndian.encode().ljust(22, b"\x00")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(bytes(9 << 20)) + packer.flush()
    (tmp_path / "x").write_bytes(before + b"\x02\x00\x10\x00UI" + struct.pack("<H", len(syntax)) + syntax + packed)
    assert only(tmp_path)[0].status == (REFUSED if before else IGNORED)


def test_header_of_any_length_is_read(tmp_path):
    """Siemens' private headers take more than the bytes that are looked at first."""
    for z, length in enumerate((2, header.MOST_HEADERS - 2000, header.MOST_HEADERS, 300_000)):
        image = mr_image(PIXELS, (0, 0, z))
        image.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x20, "OB", bytes(length))
        write(image, tmp_path / str(z))
    (series,) = read_archive(tmp_path).series
    np.testing.assert_array_equal(read_pixels(series)[1], [PIXELS] * 4)


def test_same_bytes_of_other_encodings_are_other_values(tmp_path):
    """Values that repeat from file to file are converted once."""
    told = {}
    for charset, text in (("ISO_IR 100", "T2 Ã¤"), ("ISO_IR 192", "T2 ä")):
        image = mr_image(PIXELS, SpecificCharacterSet=charset, SeriesDescription=text)
        (series,) = read_archive(write(image, tmp_path / charset)).series
        told[series.description] = text
    assert [*told] == ["T2 Ã¤", "T2 ä"]
    for syntax in (ExplicitVRLittleEndian, ExplicitVRBigEndian):
        shape = (1, 256) if syntax == ExplicitVRLittleEndian else (256, 1)  # 00 01 and 01 00 in the file
        image = as_stored(mr_image(np.arange(256, dtype=np.uint16).reshape(shape)), syntax)
        (series,) = read_archive(write(image, tmp_path / syntax)).series
        assert (series.slices[0].rows, series.slices[0].columns) == shape


@pytest.mark.parametrize("undefined_length", [False, True])
@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [("HEADER_READS", 1000, "more bytes or elements"), ("SECONDS_A_FILE", 0.3, "takes more than 0.3 s to read")],
)
def test_header_of_endless_empty_items_is_refused_in_bounded_time(
    tmp_path, monkeypatch, undefined_length, limit, value, reason
):
    """8 bytes each in the file, a thousand in memory once they are parsed."""
    monkeypatch.setattr(f"nbcad.dicom.{'images' if limit == 'HEADER_READS' else 'sources'}.{limit}", value)
    dataset = enhanced([mr_image(PIXELS)])
    dataset.SharedFunctionalGroupsSequence = []
    path = write(dataset, tmp_path / "x")
    data = path.read_bytes()
    items = (b"\xfe\xff\x00\xe0" + bytes(4)) * 1_000_000
    length, end = (
        (b"\xff" * 4, b"\xfe\xff\xdd\xe0" + bytes(4)) if undefined_length else (struct.pack("<L", len(items)), b"")
    )
    empty = b"\x00\x52\x29\x92SQ" + bytes(6)
    assert empty in data
    path.write_bytes(data.replace(empty, empty[:8] + length + items + end))
    started = time.monotonic()
    record, _ = only(tmp_path)
    assert record.status == REFUSED and reason in str(record.reason)
    assert time.monotonic() - started < 3


def test_length_that_lies_is_refused(tmp_path):
    path = write(mr_image(PIXELS), tmp_path / "x")
    data = path.read_bytes()
    lie = b"\x08\x00\x3e\x10UT\x00\x00\xf0\xff\xff\xff"  # 4 GiB of (0008,103E) Series Description
    path.write_bytes(data.replace(b"\x08\x00\x3e\x10LO\x0c\x00", lie))
    assert only(tmp_path)[0].status == REFUSED
