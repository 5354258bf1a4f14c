"""Compressed frames: a broken one costs its file, and no more."""

import struct
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from make_dicom import as_stored, mr_image, write
from nbcad.dicom import REFUSED, USED, decoder, sources
from read_dicom import only

LARGE = np.random.default_rng(1).integers(0, 4000, (40, 36), dtype=np.uint16)
COMPRESSED = (RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)


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
    record, _ = only(tmp_path)
    told = "RLE header" if syntax == RLELossless else "compressed as 40 rows, 36 columns, 1 samples"
    assert record.status == REFUSED and told in str(record.reason)


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_codestream_that_is_cut_short_is_refused_or_read(tmp_path, syntax):
    image = as_stored(mr_image(LARGE), syntax)
    frame = next(generate_frames(image.PixelData, number_of_frames=1))
    image.PixelData = encapsulate([frame[: len(frame) // 2]])
    write(image, tmp_path / "x")
    record, pixels = only(tmp_path)
    assert (record.status == USED) == (sum(map(len, pixels)) == 1)


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
    record, _ = only(tmp_path)
    assert record.status == REFUSED and reason in str(record.reason)
    assert time.monotonic() - started < 5 and decoder.running == []
    monkeypatch.undo()
    assert only(tmp_path)[0].status == USED


def _decoded_by(path):
    """Number of the process that decoded a file's only image, and the image."""
    _, (pixels,) = only(path)
    return decoder.running[0].process.pid, pixels[0]


def test_reading_in_several_processes_shares_nothing(tmp_path):
    """A forked process has its own decoder and its own place in a zip."""
    path = write(as_stored(mr_image(LARGE), JPEG2000Lossless), tmp_path / "in" / "x")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(path, "x")
    assert only(tmp_path / "in.zip")[0].status == USED
    ours = decoder.running[0].process.pid
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        theirs, pixels = pool.submit(_decoded_by, tmp_path / "in.zip").result()
    assert theirs not in (ours, None)
    np.testing.assert_array_equal(pixels, LARGE)
    assert _decoded_by(tmp_path / "in.zip")[0] == ours
