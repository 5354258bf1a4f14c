"""Damaged files: each is accounted for, without an exception, within bounded time and memory."""

import io
import resource
import time
import warnings
import zipfile

import numpy as np
import pydicom
import pytest
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

from make_dicom import as_stored, enhanced, mr_image
from nbcad.dicom import IGNORED, REFUSED, USED, read_archive, read_pixels
from nbcad.errors import InputError

CASES = 2400
SECONDS, MEBIBYTES = 10, 512
PIXELS = np.random.default_rng(3).integers(0, 900, (36, 40))
SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless,
    JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1,
)  # fmt: skip
EVIL_LENGTHS = [b"\xff\xff\xff\xff", b"\xfe\xff\xff\x7f", b"\x00\x00\x00\x00", b"\xfe\xff\x00\xe0", b"\xff\xff"]
EVIL_VALUES = {
    "Rows": [0, 1, 65535], "Columns": [0, 1, 65535], "NumberOfFrames": [0, -1, 3, 10**9, "x"],
    "BitsAllocated": [0, 1, 8, 12, 32, 64, 65535], "BitsStored": [0, 1, 17, 65535], "PixelRepresentation": [1, 2],
    "SamplesPerPixel": [0, 3], "PhotometricInterpretation": ["MONOCHROME1", "PALETTE COLOR", ""],
    "PixelSpacing": [["nan", "1"], ["1e-300", "1e-300"], ["inf", "1"], ["-1", "1"], ["1"], []],
    "ImageOrientationPatient": [[0] * 6, [1, 0, 0, 1, 0, 0], ["nan"] * 6, [1, 0, 0], ["1e200"] * 6],
    "ImagePositionPatient": [["inf"] * 3, ["1e300"] * 3, [1], ["x", "y", "z"]],
    "RescaleSlope": ["inf", "0", "1e300", "-1", "x"], "RescaleIntercept": ["nan", "1e300"],
    "EchoTime": ["nan", "-1", "1e300", "inf"], "DiffusionBValue": [float("nan"), float("inf"), -1.0, 1e300],
    "InstanceNumber": ["x", "9" * 12], "PatientAge": ["999Y", "x"], "SpecificCharacterSet": ["ISO 2022 IR 999"],
    "SOPInstanceUID": ["", "x" * 64], "ImageType": ["", "MOSAIC"],
}  # fmt: skip


def _bytes(dataset) -> bytes:
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


@pytest.fixture(scope="module")
def sound() -> list[bytes]:
    """One image in every encoding that is read, an Enhanced object in some, one without preamble, and a zip."""
    image = mr_image(PIXELS, DiffusionBValue=50.0, RescaleSlope=2, RescaleIntercept=-1)
    frames = enhanced([image, mr_image(PIXELS[::-1], (0, 0, 5))])
    files = [_bytes(as_stored(image, syntax)) for syntax in SYNTAXES]
    files += [_bytes(as_stored(frames, syntax)) for syntax in (ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless)]
    files.append(files[0][132:])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b", files[0])
    return [*files, packed.getvalue()]


def _mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut off, put in, taken out, or lengths made evil; half of the changes hit the first 1000 bytes."""
    changed = bytearray(data)
    reach = len(changed) if rng.random() < 0.5 else min(1000, len(changed))
    at = int(rng.integers(reach))
    match rng.integers(5):
        case 0:
            for place in rng.integers(reach, size=int(rng.integers(1, 9))):
                changed[place] = rng.integers(256)
        case 1:
            del changed[at:]
        case 2:
            changed[at:at] = rng.bytes(int(rng.integers(1, 64)))
        case 3:
            del changed[at : at + int(rng.integers(1, 64))]
        case 4:
            evil = EVIL_LENGTHS[rng.integers(len(EVIL_LENGTHS))]
            changed[at : at + len(evil)] = evil
    return bytes(changed)


def _with_evil_value(data: bytes, rng: np.random.Generator) -> bytes:
    """One or two elements of the header replaced by what no scanner writes."""
    if data[128:132] != b"DICM":
        return _mutated(data, rng)
    dataset = pydicom.dcmread(io.BytesIO(data))
    try:
        for keyword in rng.choice(list(EVIL_VALUES), size=int(rng.integers(1, 3))):
            values = EVIL_VALUES[keyword]
            where = dataset
            if "PerFrameFunctionalGroupsSequence" in dataset and keyword.startswith("Image"):
                where = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
            with pydicom.config.disable_value_validation():
                setattr(where, keyword, values[rng.integers(len(values))])
        return _bytes(dataset)
    except (TypeError, ValueError, OverflowError, AttributeError, pydicom.errors.BytesLengthException):
        return _mutated(data, rng)  # pydicom does not write it


def _read(path) -> None:
    """Read one file to its pixels and check what its record says."""
    try:
        archive = read_archive(path)
    except InputError:
        return  # a damaged zip, said in one line
    shown = 0
    for series in archive.series:
        slices, pixels = read_pixels(series)
        assert len(slices) == len(pixels) and np.isfinite(pixels).all()
        shown += len(slices)
    for record in archive.files:
        assert record.status in (USED, REFUSED, IGNORED)
        assert record.reason or record.status == USED
    assert (shown > 0) == any(record.status == USED for record in archive.files)


def test_damaged_file_is_accounted_for_in_bounded_time_and_memory(sound, tmp_path):
    rng = np.random.default_rng(20190704)
    path = tmp_path / "x"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in range(CASES):
        data = sound[case % len(sound)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns of what is written here on purpose
            data = _with_evil_value(data, rng) if rng.random() < 0.25 else _mutated(data, rng)
        path.write_bytes(data)
        started = time.monotonic()
        try:
            _read(path)
        except Exception as error:
            raise AssertionError(f"case {case}") from error
        assert time.monotonic() - started < SECONDS, f"case {case}"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEBIBYTES * 1024


def test_undamaged_files_of_the_fuzz_test_are_read(sound, tmp_path):
    for number, data in enumerate(sound):
        path = tmp_path / str(number)
        path.write_bytes(data)
        _read(path)
        archive = read_archive(path)
        assert [record.status for record in archive.files] == [USED], number
        _, pixels = read_pixels(archive.series[0])
        np.testing.assert_array_equal(pixels[0], 2 * PIXELS.astype(np.float32) - 1)
