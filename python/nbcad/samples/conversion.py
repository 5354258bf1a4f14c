"""Conversion of the sample database to LMDBs, on many cores, in constant memory, resumed after any interruption.

It takes two steps in a working folder beside the output. First the images of each series are written to their places
in flat files, one for each LMDB. Then each file becomes an LMDB in key order. A process killed at any moment leaves the
old set of LMDBs or the new one, and the work done so far in the working folder.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nbcad.dicom import Slice
from nbcad.errors import DatabaseError
from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import (
    STAGE_WINDOW,
    enhance,
    organ_input,
    pad_for_windows,
    stage_grid,
    stage_window,
)
from nbcad.nets.caffe_net import input_size
from nbcad.runtime import machine
from nbcad.runtime.files import finish_replacing, refuse_existing, replacing_file, take_place, telling_no_space
from nbcad.runtime.json_file import as_json, write_json
from nbcad.runtime.parallel import Map
from nbcad.runtime.paths import ORGAN_NET
from nbcad.runtime.progress import progress
from nbcad.samples import lmdb_io
from nbcad.samples.database import SampleDatabase
from nbcad.samples.images import decode, load_series
from nbcad.samples.rows import SampleRow

ORGAN_DEPLOY = ORGAN_NET / "deploy.prototxt"
ORPHANS_END_S = 10.0  # time for the workers of a killed process to end
_PLAN, _DONE, _SET = "plan.json", "done", "set"  # in the working folder


@dataclass(frozen=True)
class _Job:
    """One series to convert, and how."""

    sample_database: Path
    n4: bool
    organ_size: int
    series: int  # the database's number


@dataclass(frozen=True)
class _LmdbPart:
    """The images of one series that belong in one LMDB."""

    name: str  # of the LMDB
    keys: list[int]  # n
    images: np.ndarray  # uint8 (n, size, size)


def convert(sample_database: Path, out: Path, n4: bool, map_: Map, force: bool) -> dict[str, int]:
    """Make the LMDBs ``organ_train``, ``organ_val``, ... ``stage_test`` of all planned samples.

    All LMDBs appear under their names at once. A conversion that was interrupted is resumed if the sample database,
    this software and the options are the same.

    Args:
        sample_database: SQLite file of `build.build`.
        out: folder of the LMDBs.
        n4: see `preprocess.enhance`.
        map_: where series are decoded and preprocessed.
        force: replace LMDBs that exist.

    Returns:
        Number of entries by LMDB name.

    Raises:
        OutputExistsError: an LMDB exists and ``force`` is false.
        DatabaseError: the database is missing, files changed since it was built, ``out`` holds something other than
            LMDBs, the disk is full, or another process is writing to ``out``.
        WorkerError: a worker was killed, or runs other software.
    """
    finish_replacing(out)
    _refuse_existing(out, force)
    with SampleDatabase.open(sample_database) as database:
        info = _info(database, n4)
        with _working_folder(out, info) as work:
            remedy = "make room and run the same command again; it goes on from there"
            with telling_no_space(DatabaseError, work, remedy):
                _make_images(database, sample_database, info, work, map_)
                _write_lmdbs(database, info, work)
            # A working folder without its plan is waste: from here on it holds the old set.
            (work / _PLAN).unlink()
            take_place(work / _SET, out)
    return info.entries


def sample_images(
    samples: Iterable[SampleRow], slices: dict[int, Slice], volume: np.ndarray, n4: bool, organ_size: int
) -> Iterator[np.ndarray]:
    """Make the images of samples of one series, by the functions that serve inference.

    Args:
        samples: in the order of their slices.
        slices: the series' slices by their number in the database.
        volume: their pixels, float32, shape (slices, rows, columns).
        n4: see `preprocess.enhance`.
        organ_size: pixels along one side of the organ net's input.

    Yields:
        For each sample a uint8 image of shape (organ_size, organ_size) or (32, 32).
    """
    enhanced = dict(zip(slices, enhance(volume, n4), strict=True))
    for number, samples_of_slice in groupby(samples, attrgetter("slice")):
        stored_shape = enhanced[number].shape
        turn = Canonical.of(slices[number].geometry)
        spacing = turn.spacing(slices[number].spacing)
        image, padded = turn.apply(enhanced[number]), None
        for sample in samples_of_slice:
            if sample.task == "organ":
                yield organ_input(image, spacing, organ_size, sample.jitter)
                continue
            if padded is None:
                padded = pad_for_windows(stage_grid(image, spacing))
            yield _window(padded, turn, stored_shape, sample)


def _refuse_existing(out: Path, force: bool) -> None:
    """Raise an error if ``out`` holds anything but LMDBs, or LMDBs that must not be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    others = [p for p in out.iterdir() if p.name != lmdb_io.INFO and not (p / "data.mdb").is_file()]
    if others:
        raise DatabaseError(f"{out} holds something other than LMDBs ({others[0].name}); give another --out")
    refuse_existing(out, force)


def _info(database: SampleDatabase, n4: bool) -> lmdb_io.LmdbInfo:
    """Return the number of images of each LMDB, and everything that the images depend on."""
    entries = {}
    for keys in database.key_ranges():
        assert keys.last == keys.entries - 1, f"keys of {keys.task}_{keys.split} have gaps"
        entries[f"{keys.task}_{keys.split}"] = keys.entries
    if not entries:
        raise DatabaseError("the sample database holds no sample; see the annotations")
    return lmdb_io.LmdbInfo(n4, entries, database.samples_sha256(), machine.software())


@contextmanager
def _working_folder(out: Path, info: lmdb_io.LmdbInfo) -> Iterator[Path]:
    """Make the folder beside ``out`` in which this conversion works alone, and remove it at the end.

    The files of an earlier conversion stay in it if that one had the same plan. They were never synchronised with the
    disk, so the plan includes the boot of the machine.
    """
    work = out.with_name(f".{out.name}.part")
    plan = as_json(info) | {"boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip()}
    with _locked(work):
        if not (work / _PLAN).is_file() or json.loads((work / _PLAN).read_text()) != plan:
            for path in work.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            with replacing_file(work / _PLAN) as temporary:
                temporary.write_text(json.dumps(plan))
        yield work
        shutil.rmtree(work)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make a folder and lock it, waiting a little for the workers of a process that was killed."""
    deadline = time.monotonic() + ORPHANS_END_S
    while (descriptor := _try_to_lock(folder)) is None:
        if time.monotonic() > deadline:
            raise DatabaseError(f"another process is writing to {folder}; wait for it")
        time.sleep(0.1)
    try:
        yield
    finally:
        os.close(descriptor)


def _try_to_lock(folder: Path) -> int | None:
    """Return the descriptor that locks a folder, or None if another process holds the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The last holder may have removed the folder in the meantime.
        if folder.is_dir() and os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    os.close(descriptor)
    return None


def _make_images(
    database: SampleDatabase, sample_database: Path, info: lmdb_io.LmdbInfo, work: Path, map_: Map
) -> None:
    """Write the images of every series that is not done yet to their places in ``<name>.images``."""
    (work / _DONE).touch()
    done = {int(line) for line in (work / _DONE).read_text().splitlines()}
    slices = database.slice_counts()
    size = input_size(ORGAN_DEPLOY)
    jobs = [_Job(sample_database.absolute(), info.n4, size, series) for series in slices if series not in done]
    with ExitStack() as stack:
        bar = stack.enter_context(progress(total=sum(slices.values()), desc="images", unit="slices"))
        files = {name: stack.enter_context(_writable(work / f"{name}.images")) for name in info.entries}
        journal = stack.enter_context((work / _DONE).open("a"))
        bar.update(sum(slices[series] for series in done))
        for job, parts in zip(jobs, map_(_convert_series, jobs), strict=True):
            for part in parts:
                _put(part, files[part.name])
            journal.write(f"{job.series}\n")
            journal.flush()
            bar.update(slices[job.series])


def _writable(path: Path) -> BinaryIO:
    """Open a file for writing anywhere in it, keeping its content; create it if it is missing."""
    path.touch()
    return path.open("r+b")


def _put(part: _LmdbPart, file: BinaryIO) -> None:
    """Write images to the places of their keys."""
    for key, image in zip(part.keys, part.images, strict=True):
        file.seek(key * image.size)
        file.write(image.data)
    file.flush()  # before the journal records the series as done


def _write_lmdbs(database: SampleDatabase, info: lmdb_io.LmdbInfo, work: Path) -> None:
    """Turn each ``<name>.images`` into an LMDB of the set."""
    sizes = {"organ": input_size(ORGAN_DEPLOY), "stage": STAGE_WINDOW}
    (work / _SET).mkdir(exist_ok=True)
    with progress(total=sum(info.entries.values()), desc="LMDB", unit="entries") as bar:
        for name, count in info.entries.items():
            task, split = name.split("_")
            images = work / f"{name}.images"
            if (work / _SET / name).exists():
                bar.update(count)
            else:
                stored = _stored_images(images, sizes[task], count, bar.update)
                lmdb_io.write(work / name, stored, database.labels_in(task, split))
                (work / name).rename(work / _SET / name)
            images.unlink()  # the disk need not hold all images twice
    write_json(info, work / _SET / lmdb_io.INFO)


def _stored_images(path: Path, size: int, count: int, done: Callable[[int], None]) -> Iterator[np.ndarray]:
    """Yield the images of a flat file, uint8 of shape (size, size), and report each as done."""
    with path.open("rb") as file:
        for _ in range(count):
            yield np.frombuffer(file.read(size * size), np.uint8).reshape(size, size)
            done(1)


def _convert_series(job: _Job) -> list[_LmdbPart]:
    """Make all images of one series.

    Raises:
        DatabaseError: a file is gone or changed.
    """
    with SampleDatabase.open(job.sample_database) as database:
        series, numbers = load_series(database, job.series)
        samples = database.samples_of(job.series)
    slices = dict(zip(numbers, series.slices, strict=True))
    images = sample_images(samples, slices, decode(series), job.n4, job.organ_size)
    by_lmdb: dict[str, tuple[list[int], list[np.ndarray]]] = {}
    for sample, image in zip(samples, images, strict=True):
        keys, images_of_lmdb = by_lmdb.setdefault(sample.lmdb, ([], []))
        keys.append(sample.key)
        images_of_lmdb.append(image)
    return [_LmdbPart(name, keys, np.stack(images_of_lmdb)) for name, (keys, images_of_lmdb) in by_lmdb.items()]


def _window(padded: np.ndarray, turn: Canonical, stored_shape: tuple[int, int], sample: SampleRow) -> np.ndarray:
    """Cut the window of a sample from a padded slice in canonical orientation; uint8 of shape (32, 32)."""
    assert sample.row is not None and sample.col is not None, "a window has a place"
    row, col, _, _ = turn.box_to_canonical((sample.row, sample.col, sample.row, sample.col), stored_shape)
    rows, columns = turn.shape(stored_shape)
    row *= (padded.shape[0] - STAGE_WINDOW) / rows
    col *= (padded.shape[1] - STAGE_WINDOW) / columns
    window = stage_window(padded, row, col)
    return window[:, ::-1] if sample.mirrored else window
