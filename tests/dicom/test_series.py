"""Files: which are read, how their headers and pixels are understood, and what becomes of all others."""

import gc
import io
import os
import socket
import struct
import time
import tracemalloc
import zipfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    MPEG2MPML,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRColorImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from make_dicom import as_stored, enhanced, mr_image, write
from nbcad.bench.archive import write_patients
from nbcad.dicom import IGNORED, REFUSED, USED, FileRecord, decoder, header, read_archive, read_pixels, sources
from nbcad.errors import InputError
from repository import ROOT

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)
LARGE = np.random.default_rng(1).integers(0, 4000, (40, 36), dtype=np.uint16)
SYNTAXES = (
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
    JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless,
)  # fmt: skip
COMPRESSED = (RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)


def _only(path):
    """The one file's record after all of its pixels were read, and the pixels."""
    archive = read_archive(path)
    pixels = [read_pixels(series)[1] for series in archive.series]
    (record,) = archive.files
    return record, pixels


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
    record, pixels = _only(tmp_path)
    assert record.status == REFUSED and record.reason.startswith(reason), record.reason
    assert not any(map(len, pixels))


def test_sound_image_beside_a_refused_one_is_used(tmp_path):
    write(mr_image(PIXELS), tmp_path / "good")
    write(mr_image(0 * PIXELS, (0, 0, 3)), tmp_path / "black")
    archive = read_archive(tmp_path)
    slices, pixels = read_pixels(archive.series[0])
    assert pixels.shape == (1, 3, 4) and slices[0].source.path.name == "good"
    assert [f.status for f in archive.files] == [REFUSED, USED]


def test_value_that_an_image_can_do_without_is_not_known_rather_than_a_reason(tmp_path):
    path = write(mr_image(PIXELS, EchoTime="90", RepetitionTime="4000", SeriesDescription="x"), tmp_path / "x")
    path.write_bytes(path.read_bytes().replace(b"DS\x02\x0090", b"DS\x02\x00x?"))
    archive = read_archive(tmp_path)
    assert (archive.files[0].status, archive.series[0].weighting) == (USED, "")


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("signed", [False, True])
def test_every_encoding_gives_the_same_pixels(tmp_path, syntax, signed):
    stored = LARGE.astype(np.int16) - 2000 * signed
    image = mr_image(stored, PixelRepresentation=int(signed), RescaleSlope=3, RescaleIntercept=-7)
    write(as_stored(image, syntax), tmp_path / "x")
    record, (pixels,) = _only(tmp_path)
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


def _with_bad_spacing(item):
    item.PixelMeasuresSequence = [Dataset()]
    item.PixelMeasuresSequence[0].PixelSpacing = [-1, 1]


def test_frame_that_cannot_be_analysed_is_refused_by_number_and_the_rest_is_used(tmp_path, rng):
    images = [mr_image(rng.integers(0, 900, (3, 4)), (0, 0, 5 * n)) for n in range(6)]
    images[4].PixelData = bytes(24)
    dataset = enhanced(images)
    for number in (1, 2):
        _with_bad_spacing(dataset.PerFrameFunctionalGroupsSequence[number])
    write(dataset, tmp_path / "x")
    record, pixels = _only(tmp_path)
    assert (record.status, record.refused_frames, sum(map(len, pixels))) == (USED, 3, 3)
    assert record.reason.startswith("frames 1-2 refused: (0028,0030) Pixel Spacing is missing or not positive")
    assert "; frame 4 refused: (7FE0,0010) Pixel Data: all pixels are equal" in record.reason


def test_frame_without_a_plane_gets_none_from_the_rest_of_the_object(tmp_path, rng):
    images = [mr_image(rng.integers(0, 900, (3, 4)), (0, 0, 5 * n)) for n in range(3)]
    dataset = enhanced(images)
    del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    dataset.ImagePositionPatient = [1, 2, 3]  # of no frame in particular
    write(dataset, tmp_path / "x")
    alone = [s for s in read_archive(tmp_path).series if s.slices[0].geometry is None]
    assert [s.slices[0].frame for s in alone] == [1] and "(0020,0032)" in alone[0].notes[0]


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
    record, pixels = _only(tmp_path)
    assert sum(map(len, pixels)) == used
    assert (record.status == USED) == (used > 0) and record.reason.startswith(reason)


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
    _, (pixels,) = _only(tmp_path)
    expected = PIXELS if factor is None else factor * PIXELS + 1.0
    np.testing.assert_array_equal(pixels[0], expected.astype(np.float32))


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


def test_zip_and_single_file_are_read_like_a_folder(tmp_path):
    path = write(mr_image(PIXELS), tmp_path / "in" / "x.dcm")
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "deep/er/x.dcm")
    for given in (path, tmp_path / "in", tmp_path / "in.zip"):
        (series,) = read_archive(given).series
        np.testing.assert_array_equal(read_pixels(series)[1][0], PIXELS)


def _zip_with(tmp_path, edit=lambda data: data, method=zipfile.ZIP_DEFLATED, extra=()):
    path = write(mr_image(PIXELS), tmp_path / "in" / "x.dcm")
    with zipfile.ZipFile(tmp_path / "in.zip", "w", method) as archive:
        archive.write(path, "x.dcm")
        for name in extra:
            archive.writestr(name, b"junk", zipfile.ZIP_STORED)
    data = (tmp_path / "in.zip").read_bytes()
    (tmp_path / "in.zip").write_bytes(edit(data))
    return tmp_path / "in.zip"


def _declared_size(size: int):
    """Both headers of the first member say that it unpacks to ``size`` bytes."""

    def edit(data: bytes) -> bytes:
        central = data.index(b"PK\x01\x02")
        data = data[:22] + struct.pack("<L", size) + data[26:]
        return data[: central + 24] + struct.pack("<L", size) + data[central + 28 :]

    return edit


def _encrypted(data: bytes) -> bytes:
    central = data.index(b"PK\x01\x02")
    data = data[:6] + b"\x01" + data[7:]
    return data[: central + 8] + b"\x01" + data[central + 9 :]


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (_declared_size(40), "Bad CRC-32"),
        (_declared_size(0xF0000000), "unpacks to 4026531840 bytes"),
        (_encrypted, "encrypted"),
    ],
)
def test_member_whose_size_lies_or_that_is_encrypted_is_not_used(tmp_path, edit, reason):
    record, _ = _only(_zip_with(tmp_path, edit))
    assert record.status != USED and reason in record.reason


def test_zip_of_another_method_is_refused_and_junk_beside_is_ignored(tmp_path):
    archive = read_archive(_zip_with(tmp_path, method=zipfile.ZIP_LZMA, extra=["a/b/c.txt", "inner.zip"]))
    assert sorted((f.status, f.path.split("!")[1]) for f in archive.files) == [
        (IGNORED, "a/b/c.txt"),
        (IGNORED, "inner.zip"),
        (REFUSED, "x.dcm"),
    ]


def test_damaged_zip_is_one_error(tmp_path):
    path = _zip_with(tmp_path, lambda data: data[:60] + data[-22:])
    with pytest.raises(InputError, match="damaged zip"):
        read_archive(path)


def test_other_files_are_ignored_with_a_reason(tmp_path):
    (tmp_path / "a").write_text("nothing")
    (tmp_path / "b").touch()
    with zipfile.ZipFile(tmp_path / "c", "w") as archive:
        archive.writestr("x", b"junk")
    assert [f.status for f in read_archive(tmp_path).files] == [IGNORED] * 3
    assert [f.reason for f in read_archive(tmp_path).files] == [
        "not a DICOM file (PS3.10)",
        "not a DICOM file (PS3.10)",
        "a zip within the input is not opened; give it by itself",
    ]


def test_links_pipes_sockets_and_devices_are_accounted_for_and_nothing_waits(tmp_path):
    write(mr_image(PIXELS), tmp_path / "real")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "device").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(tmp_path)  # a socket's name may have 100 characters
        try:
            listener.bind("socket")
        finally:
            os.chdir(ROOT)
        files = {os.path.basename(f.path): f for f in read_archive(tmp_path).files}
    assert {name: f.status for name, f in files.items()} == {
        "real": USED, "loop": IGNORED, "nowhere": REFUSED, "self": REFUSED, "device": IGNORED, "pipe": IGNORED,
        "socket": IGNORED,
    }  # fmt: skip
    assert all(f.reason for name, f in files.items() if name != "real")


def test_pipe_given_as_input_is_ignored(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert _only(tmp_path / "pipe")[0].status == IGNORED


def test_unreadable_file_and_folder_are_refused_by_the_systems_reason(tmp_path, monkeypatch):
    write(mr_image(PIXELS), tmp_path / "in" / "x")
    (tmp_path / "in" / "sub").mkdir()
    listdir = os.listdir

    def denied(path, *_):
        if str(path).endswith(("sub", "x")):
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", denied)
    monkeypatch.setattr("pathlib.Path.open", denied)
    files = read_archive(tmp_path / "in").files
    assert [f.status for f in files] == [REFUSED, REFUSED]
    assert all("Permission denied" in f.reason for f in files)


def test_missing_or_empty_input_is_one_error(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_archive(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no file"):
        read_archive(tmp_path)


# Bounds


def test_declared_size_is_checked_before_anything_is_allocated(tmp_path):
    write(mr_image(PIXELS, Rows=65535, Columns=65535, PixelSpacing=[0.001, 0.001]), tmp_path / "x")
    record, _ = _only(tmp_path)
    assert record.reason.startswith("(0028,0010) Rows 65535, (0028,0011) Columns 65535")
    assert "at most 2 GiB" in record.reason


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_codestream_of_another_size_than_the_header_is_not_decoded(tmp_path, syntax, monkeypatch):
    monkeypatch.setattr(decoder, "decode", None)  # would raise a TypeError
    image = as_stored(mr_image(LARGE), syntax)
    if syntax == RLELossless:
        frame = bytearray(next(generate_frames(image.PixelData, number_of_frames=1)))
        frame[4:8] = struct.pack("<L", 10**6)
        image.PixelData = encapsulate([bytes(frame)])
    else:
        image.Rows -= 1
    write(image, tmp_path / "x")
    record, _ = _only(tmp_path)
    told = "RLE header" if syntax == RLELossless else "compressed as 40 rows, 36 columns, 1 samples"
    assert record.status == REFUSED and told in record.reason


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_codestream_that_is_cut_short_is_refused_or_read_but_never_fatal(tmp_path, syntax):
    image = as_stored(mr_image(LARGE), syntax)
    frame = next(generate_frames(image.PixelData, number_of_frames=1))
    image.PixelData = encapsulate([frame[: len(frame) // 2]])
    write(image, tmp_path / "x")
    record, pixels = _only(tmp_path)
    assert (record.status == USED) == (sum(map(len, pixels)) == 1)


def test_syntax_that_is_not_read_is_refused_by_name(tmp_path):
    image = as_stored(mr_image(LARGE), RLELossless)
    image.file_meta.TransferSyntaxUID = MPEG2MPML
    write(image, tmp_path / "x")
    assert "(0002,0010) Transfer Syntax UID is 1.2.840.10008.1.2.4.100, which is not read" in _only(tmp_path)[0].reason


@pytest.mark.parametrize(
    ("how", "reason"),
    [("import os; os.kill(os.getpid(), 11)", "its decoder ended with code -11"), ("while True: pass", "more than 0.")],
)
def test_decoder_that_dies_or_never_ends_costs_one_file_and_no_more(tmp_path, monkeypatch, how, reason):
    bad = "import sys, nbcad.dicom.decoder as d\ndef hurt(frame, pixels):\n    " + how
    monkeypatch.setattr(decoder, "COMMAND", bad + "\nd.decode_here = hurt\nd.serve(int(sys.argv[1]))")
    monkeypatch.setattr(decoder, "running", [])
    monkeypatch.setattr(sources, "SECONDS_A_FILE", 0.5)
    write(as_stored(mr_image(LARGE), JPEG2000Lossless), tmp_path / "x")
    started = time.monotonic()
    record, _ = _only(tmp_path)
    assert record.status == REFUSED and reason in record.reason
    assert time.monotonic() - started < 5 and decoder.running == []
    monkeypatch.undo()
    assert _only(tmp_path)[0].status == USED


def test_deflated_data_set_is_inflated_within_bounds(tmp_path, monkeypatch):
    path = write(as_stored(mr_image(PIXELS), DeflatedExplicitVRLittleEndian), tmp_path / "x")
    monkeypatch.setattr(header, "LARGEST_INFLATED", 1 << 20)
    assert _only(tmp_path)[0].status == USED
    data = path.read_bytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(
        data[: 144 + struct.unpack_from("<L", data, 140)[0]] + packer.compress(bytes(9 << 20)) + packer.flush()
    )
    record, _ = _only(tmp_path)
    assert record.status == REFUSED and "(0002,0010) Transfer Syntax UID is deflated" in record.reason


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
    assert _only(tmp_path)[0].status == (REFUSED if before else IGNORED)


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
    record, _ = _only(tmp_path)
    assert record.status == REFUSED and reason in record.reason
    assert time.monotonic() - started < 3


def test_no_more_is_read_than_the_file_has(tmp_path):
    """Python reserves as much memory as it is asked to read."""
    asked = []

    class Spy(io.BytesIO):
        def read(self, count=-1):
            asked.append(count)
            return super().read(count)

    with FileRecord("x").budget() as budget:
        file = sources.BoundedFile(Spy(b"12345"), 5, budget)
        assert (file.read(2), file.read(1 << 20), file.read()) == (b"12", b"345", b"")
    assert asked == [2, 3, 0]


def test_length_that_lies_is_refused(tmp_path):
    path = write(mr_image(PIXELS), tmp_path / "x")
    data = path.read_bytes()
    lie = b"\x08\x00\x3e\x10UT\x00\x00\xf0\xff\xff\xff"  # 4 GiB of (0008,103E) Series Description
    path.write_bytes(data.replace(b"\x08\x00\x3e\x10LO\x0c\x00", lie))
    assert _only(tmp_path)[0].status == REFUSED


def test_file_that_grows_shorter_between_header_and_pixels_is_refused(tmp_path):
    path = write(mr_image(PIXELS), tmp_path / "x")
    archive = read_archive(tmp_path)
    path.write_bytes(path.read_bytes()[:-6])
    assert read_pixels(archive.series[0])[0] == []
    assert archive.files[0].status == REFUSED


def _decoded_by(path):
    """Number of the process that decoded a file's only image, and the image."""
    _, (pixels,) = _only(path)
    return decoder.running[0].process.pid, pixels[0]


def test_reading_in_several_processes_shares_nothing(tmp_path):
    """A forked process has its own decoder and its own place in a zip."""
    path = write(as_stored(mr_image(LARGE), JPEG2000Lossless), tmp_path / "in" / "x")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(path, "x")
    assert _only(tmp_path / "in.zip")[0].status == USED
    ours = decoder.running[0].process.pid
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        theirs, pixels = pool.submit(_decoded_by, tmp_path / "in.zip").result()
    assert theirs not in (ours, None)
    np.testing.assert_array_equal(pixels, LARGE)
    assert _decoded_by(tmp_path / "in.zip")[0] == ours


# What the header tells of series and patient


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


def test_record_of_a_file_tells_of_its_frames_by_what_became_of_them():
    record = FileRecord("x")
    record.frames = 6
    assert (record.status, record.reason) == (USED, "")
    for frame in (4, 0, 1):
        record.set_aside(IGNORED, "not asked for", frame)
    record.set_aside(REFUSED, "black", 3)
    record.set_aside(REFUSED, "too late", 0)
    assert (record.status, record.refused_frames) == (USED, 1)
    assert record.reason == "frames 0-1, 4 ignored: not asked for; frame 3 refused: black"
    record.set_aside(IGNORED, "not asked for")
    assert record.status == REFUSED
    assert FileRecord("y", IGNORED, "why").reason == "why"


def test_time_of_a_file_counts_over_all_readings_of_it():
    record = FileRecord("x")
    with record.budget() as first:
        time.sleep(0.05)
    with record.budget() as second:
        assert second.deadline - time.monotonic() < sources.SECONDS_A_FILE - 0.04
    assert first.deadline - time.monotonic() < sources.SECONDS_A_FILE


def test_a_further_file_takes_little_memory(tmp_path):
    def memory(count: int) -> int:
        folder = tmp_path / str(count)
        write_patients(folder, count)
        tracemalloc.start()
        kept = read_archive(folder)
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(kept.files) == count
        return size

    memory(300)  # fills the caches, which do not grow
    assert (memory(700) - memory(301)) / (700 - 301) < 1300
