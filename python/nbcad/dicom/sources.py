"""Where input files lie, what became of each, and reading them within bounds.

One file may take 10 s and 2 GiB, whatever its header says: everything is read through a `BoundedFile`, which counts.
"""

import io
import math
import os
import stat
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, BinaryIO, Final, Literal, cast

from nbcad.dicom.refusal import MALFORMED, Refusal
from nbcad.errors import InputError
from nbcad.language.message import EMPTY, Message, counted, joined, message
from nbcad.runtime import verbosity

USED: Final = "used"
REFUSED: Final = "refused"
IGNORED: Final = "ignored"
Status = Literal["used", "refused", "ignored"]

SECONDS_A_FILE = 10.0
BYTES_A_FILE = 2 << 30
HEADER_BYTES = 64 << 20
HEADER_READS = 1_000_000  # each element or item costs one at least, and up to 2 kB of memory once it is parsed

_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others unpack without a bound


class Budget:
    """The remaining budget of one file."""

    def __init__(self, seconds: float, count: int, reads: float):
        self.deadline = time.monotonic() + seconds
        self.bytes, self.reads = count, reads
        self.refusal: Refusal | None = None  # once it was exceeded; pydicom may answer with an error of its own

    def charge(self, count: int = 0) -> None:
        """Take off one reading of ``count`` bytes.

        Raises:
            Refusal: nothing is left.
        """
        self.bytes -= count
        self.reads -= 1
        if self.bytes < 0 or self.reads < 0:
            self.refusal = Refusal(message("takes more bytes or elements to read than any sound file of its kind"))
        elif time.monotonic() > self.deadline:
            self.refusal = Refusal(message("takes more than {seconds} s to read", seconds=f"{SECONDS_A_FILE:g}"))
        if self.refusal:
            raise self.refusal


class FileRecord:
    """The fate of one input file.

    Attributes:
        path: as `Source` writes it.
        frames: how many images it holds, counted from 0.
    """

    __slots__ = ("_fates", "_seconds", "frames", "path")

    def __init__(self, path: str, status: str = USED, reason: Message = EMPTY):
        self.path, self.frames = path, 1
        self._fates: dict[int, tuple[str, Message]] = {}
        self._seconds = 0.0
        if status != USED:
            self.set_aside(status, reason)

    def set_aside(self, status: str, reason: Message, frame: int | None = None) -> None:
        """Refuse or ignore one frame, or all; what was set aside before keeps its first reason."""
        numbers = range(self.frames) if frame is None else (frame,)
        undecided = [number for number in numbers if number not in self._fates]
        self._fates.update(dict.fromkeys(undecided, (status, reason)))
        if undecided:
            some = f", frame{'s' * (len(undecided) > 1)} {_numbers(undecided)}" if len(undecided) < self.frames else ""
            verbosity.detail(f"{status}: {self.path}{some}: {reason}")

    def adopt(self, other: "FileRecord") -> None:
        """Set aside what was set aside in a copy of this record, in another process."""
        for frame, (status, reason) in other._fates.items():
            self.set_aside(status, reason, frame)

    @property
    def status(self) -> Status:
        """Return ``used`` if at least one frame is, else ``refused`` if at least one is, else ``ignored``."""
        if len(self._fates) < self.frames:
            return USED
        return REFUSED if self.refused_frames else IGNORED

    @property
    def reason(self) -> Message:
        """Return why the file, or some of its frames, is not used."""
        by_fate: dict[tuple[str, Message], list[int]] = {}
        for number, fate in sorted(self._fates.items()):
            by_fate.setdefault(fate, []).append(number)
        if len(by_fate) == 1 and len(self._fates) == self.frames:
            return next(iter(by_fate))[1]
        return joined(_of_frames(numbers, status, why) for (status, why), numbers in by_fate.items())

    @property
    def refused_frames(self) -> int:
        """Return the number of refused frames."""
        return sum(status == REFUSED for status, _ in self._fates.values())

    @contextmanager
    def budget(self, count: int = BYTES_A_FILE, reads: float = math.inf) -> Iterator[Budget]:
        """Yield a budget for reading the file now: ``count`` bytes, and the rest of its `SECONDS_A_FILE`."""
        started = time.monotonic()
        try:
            yield Budget(SECONDS_A_FILE - self._seconds, count, reads)
        finally:
            self._seconds += time.monotonic() - started


def _numbers(numbers: list[int]) -> str:
    """Return ascending numbers as "0-4, 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _of_frames(numbers: list[int], status: str, reason: Message) -> Message:
    """Return what became of some of a file's frames, given by ascending numbers: "frames 0-4, 7 refused: ..."."""
    shown = _numbers(numbers)
    if status == REFUSED:
        return counted(
            "frame {numbers} refused: {reason}",
            "frames {numbers} refused: {reason}",
            count=len(numbers),
            numbers=shown,
            reason=reason,
        )
    return counted(
        "frame {numbers} ignored: {reason}",
        "frames {numbers} ignored: {reason}",
        count=len(numbers),
        numbers=shown,
        reason=reason,
    )


class BoundedFile:
    """A binary file that never reads beyond its end, nor more than its budget."""

    def __init__(self, raw: IO[bytes], size: int, budget: Budget):
        self.raw, self.size, self.budget = raw, size, budget
        self.seek, self.tell = raw.seek, raw.tell

    def read(self, count: int = -1) -> bytes:
        """Read up to ``count`` bytes, or all if negative."""
        left = max(0, self.size - self.tell())
        # Clamped, as Python reserves as much memory as it is asked to read.
        count = left if count is None or count < 0 else min(count, left)
        self.budget.charge(count)
        return self.raw.read(count)

    def __enter__(self) -> "BoundedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()


@dataclass(frozen=True, slots=True)
class Source:
    """A file's place: on disk, or as a member of a zip."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}!{self.member}" if self.member else str(self.path)

    def open(self, budget: Budget) -> BoundedFile:
        """Open the file for reading bytes.

        Raises:
            Refusal: it is a member of a zip that is encrypted or too large.
            OSError, zipfile.BadZipFile: it cannot be opened.
        """
        if self.member is None:
            raw = self.path.open("rb")
            return BoundedFile(raw, os.fstat(raw.fileno()).st_size, budget)
        stated = self.path.stat()
        archive = _zip(self.path, stated.st_mtime_ns, stated.st_size)
        about = archive.getinfo(self.member)
        if about.flag_bits & 1:
            raise Refusal(message("member of the zip is encrypted; unpack it"))
        if about.compress_type not in _ZIP_METHODS:
            raise Refusal(message("member of the zip is packed by another method than deflate; unpack it"))
        if about.file_size > BYTES_A_FILE:
            raise Refusal(
                message(
                    "member of the zip says that it unpacks to {count} bytes; at most 2 GiB are read",
                    count=about.file_size,
                )
            )
        return BoundedFile(archive.open(about), about.file_size, budget)


@lru_cache(maxsize=2)
def _zip(path: Path, _changed: int, _size: int) -> zipfile.ZipFile:
    """Kept open, as a zip of 20,000 members is slow to open."""
    return zipfile.ZipFile(path)


os.register_at_fork(after_in_child=_zip.cache_clear)  # a forked process would share its position in the file


def walk(path: Path) -> Iterator[Source | FileRecord]:
    """Yield every file below a folder, in a zip, or the one file; as a record if it cannot be read.

    Raises:
        InputError: ``path`` does not exist or is a damaged zip.
    """
    if not path.exists():
        raise InputError(message("{path} does not exist; give a DICOM folder, file or zip", path=str(path)))
    if path.is_file() and zipfile.is_zipfile(path):
        yield from _members(path)
    else:
        yield from _below(path)


def _below(top: Path) -> Iterator[Source | FileRecord]:
    waiting = [top]
    while waiting:
        path = waiting.pop()
        try:
            mode = path.stat().st_mode
            if stat.S_ISREG(mode):
                yield Source(path)
            elif not stat.S_ISDIR(mode):  # opening a pipe would wait for its other end
                yield FileRecord(str(path), IGNORED, message("no regular file, but a pipe, socket or device"))
            elif path != top and path.is_symlink():  # it may lead in a circle, or out of the input
                yield FileRecord(str(path), IGNORED, message("symbolic link to a folder; give that folder itself"))
            else:
                waiting += (path / name for name in sorted(os.listdir(path), reverse=True))
        except OSError as error:
            yield FileRecord(str(path), REFUSED, message("cannot be read: {error}", error=str(error.strerror)))


def _members(path: Path) -> Iterator[Source | FileRecord]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [about.filename for about in archive.infolist() if not about.is_dir()]
    except MALFORMED as error:
        raise InputError(message("{path} is a damaged zip: {error}", path=str(path), error=str(error))) from error
    for number, name in enumerate(names := sorted(names)):
        source = Source(path, name)
        if number and names[number - 1] == name:
            reason = message("the zip holds two members of this name; unpack it")
            yield FileRecord(f"{source} (again)", REFUSED, reason)
        else:
            yield source


def in_memory(data: bytes, budget: Budget) -> BoundedFile:
    """Return bytes as a bounded file."""
    return BoundedFile(io.BytesIO(data), len(data), budget)


def as_binary_io(file: BoundedFile) -> BinaryIO:
    """Return the file as pydicom's type hints want it; pydicom itself only reads, seeks and tells."""
    return cast(BinaryIO, file)
