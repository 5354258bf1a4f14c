"""Files, folders and zips: what is read of them, and that nothing waits or grows beyond bounds."""

import gc
import io
import os
import socket
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from make_dicom import mr_image, write
from nbcad.bench.archive import write_patients
from nbcad.dicom import IGNORED, REFUSED, USED, FileRecord, read_archive, read_pixels, sources
from nbcad.errors import InputError
from read_dicom import only
from repository import ROOT

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)


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
    record, _ = only(_zip_with(tmp_path, edit))
    assert record.status != USED and reason in str(record.reason)


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
    assert [str(f.reason) for f in read_archive(tmp_path).files] == [
        "not a DICOM file (PS3.10)",
        "not a DICOM file (PS3.10)",
        "a zip within the input is not opened; give it by itself",
    ]


def test_links_pipes_sockets_and_devices_are_accounted_for(tmp_path):
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
    assert only(tmp_path / "pipe")[0].status == IGNORED


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
    assert all("Permission denied" in str(f.reason) for f in files)


def test_missing_or_empty_input_is_one_error(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_archive(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no file"):
        read_archive(tmp_path)


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
