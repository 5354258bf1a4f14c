"""From the sample database to LMDBs: decode and preprocess on many cores, in constant memory, and go on after any stop.

Two steps in a working folder beside the output: the images of each series are written to their places in one flat file
an LMDB; then each file becomes an LMDB in key order. A process killed at any moment leaves the old set of LMDBs or the
new one, and in the working folder what was done.
"""

import fcntl
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nbcad.dicom import Slice, read_pixels
from nbcad.errors import DatabaseError
from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import (
    STAGE_WINDOW,
    Jitter,
    enhance,
    organ_input,
    pad_for_windows,
    stage_grid,
    stage_window,
)
from nbcad.nets.caffe_net import input_size
from nbcad.runtime import machine
from nbcad.runtime.files import finish_replacing, refuse_existing, replacing_file, take_place, telling_no_space
from nbcad.runtime.parallel import Map
from nbcad.runtime.paths import ORGAN_NET
from nbcad.runtime.progress import progress
from nbcad.samples import database, lmdb_io

ORGAN_DEPLOY = ORGAN_NET / "deploy.prototxt"
ORPHANS_END_S = 10.0
_PLAN, _DONE, _SET = "plan.json", "done", "set"  # in the working folder


@dataclass(frozen=True)
class _Job:
    """One series to convert."""

    sample_database: Path
    n4: bool
    organ_size: int
    series: int  # the database's number


@dataclass(frozen=True)
class ImageIndex:
    """The images of one series for one LMDB."""

    name: str  # of the LMDB
    keys: list[int]  # n
    images: np.ndarray  # uint8 (n, size, size)


def convert(sample_database: Path, out: Path, n4: bool, map_: Map, force: bool) -> dict[str, int]:
    """Make the images of all planned samples: ``organ_train``, ``organ_val``, ... ``stage_test`` below ``out``.

    All LMDBs take their names together. A conversion that was stopped goes on where it was if the sample database,
    this software and the options are the same.

    Args:
        sample_database: SQLite file of `build.build`.
        out: folder of the LMDBs.
        n4: see `preprocess.enhance`.
        map_: where series are decoded and preprocessed.
        force: replace LMDBs that stand there.

    Returns:
        Number of entries by LMDB name.

    Raises:
        OutputExistsError: an LMDB stands there and ``force`` is false.
        DatabaseError: the database is missing, files changed since it was built, ``out`` holds something else than
            LMDBs, the disk is full, or another process is writing to ``out``.
        WorkerError: a worker was killed, or does not fit.
    """
    finish_replacing(out)
    _refuse_existing(out, force)
    with closing(database.connect(sample_database)) as connection:
        info = _info(connection, n4)
        with _working_folder(out, info) as work:
            remedy = "run the same again with more and it goes on from there"
            with telling_no_space(DatabaseError, work, remedy):
                _make_images(connection, sample_database, info, work, map_)
                _write_lmdbs(connection, info, work)
            # Without its plan a working folder is waste: what is in it from here on is the old set.
            (work / _PLAN).unlink()
            take_place(work / _SET, out)
    return info["entries"]


def sample_images(
    samples: Iterable[sqlite3.Row], slices: dict[int, Slice], volume: np.ndarray, n4: bool, organ_size: int
) -> Iterator[np.ndarray]:
    """The images of samples of one series, by the functions that serve inference.

    Args:
        samples: rows of the database's table ``sample``, in the order of their slices.
        slices: the series' slices by their number in the database.
        volume: their pixels, float32, shape (slices, rows, columns).
        n4: see `preprocess.enhance`.
        organ_size: pixels along one side of the organ net's input.

    Yields:
        uint8 of shape (organ_size, organ_size) or (32, 32), a sample each.
    """
    enhanced = dict(zip(slices, enhance(volume, n4), strict=True))
    for number, of_slice in groupby(samples, itemgetter("slice")):
        stored_shape = enhanced[number].shape
        turn = Canonical.of(slices[number].geometry)
        spacing = turn.spacing(slices[number].spacing)
        image, padded = turn.apply(enhanced[number]), None
        for sample in of_slice:
            if sample["task"] == "organ":
                yield organ_input(image, spacing, organ_size, _jitter(sample))
                continue
            if padded is None:
                padded = pad_for_windows(stage_grid(image, spacing))
            yield _window(padded, turn, stored_shape, sample)


def select_samples(connection: sqlite3.Connection, series: int) -> list[sqlite3.Row]:
    """Rows of the table ``sample`` for one series, in the order of their slices."""
    return connection.execute(
        "SELECT sample.* FROM sample JOIN slice USING (slice) WHERE series = ? ORDER BY slice", (series,)
    ).fetchall()


def _refuse_existing(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    others = [p for p in out.iterdir() if p.name != lmdb_io.INFO and not (p / "data.mdb").is_file()]
    if others:
        raise DatabaseError(f"{out} holds something else than LMDBs ({others[0].name}); give another --out")
    refuse_existing(out, force)


def _info(connection: sqlite3.Connection, n4: bool) -> dict:
    """What the images depend on, and how many there are."""
    counts = connection.execute("SELECT task || '_' || split, count(*), max(key) FROM sample GROUP BY 1 ORDER BY 1")
    entries = {}
    for name, count, last in counts:
        assert last == count - 1, f"keys of {name} have gaps"
        entries[name] = count
    if not entries:
        raise DatabaseError("the sample database holds no sample; see the annotations")
    return {
        "n4": n4,
        "entries": entries,
        "samples_sha256": lmdb_io.samples_fingerprint(connection),
        "software": machine.software(),
    }


@contextmanager
def _working_folder(out: Path, info: dict) -> Iterator[Path]:
    """The folder beside ``out`` in which this conversion, and no other at the same time, works; removed at the end.

    What an earlier one left in it stays if it was to make the same. Its files were never synchronised with the disk,
    so it must have run since the machine was started.
    """
    work = out.with_name(f".{out.name}.part")
    plan = info | {"boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip()}
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
    """Make a folder and hold it alone; waits a little for the workers of a process that was killed."""
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
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who held it may have removed the folder meanwhile.
        if folder.is_dir() and os.path.samestat(os.fstat(descriptor), folder.stat()):
            return descriptor
    os.close(descriptor)
    return None


def _make_images(connection: sqlite3.Connection, sample_database: Path, info: dict, work: Path, map_: Map) -> None:
    """Write the images of every series that is not done to their places in ``<name>.images``."""
    (work / _DONE).touch()
    done = {int(line) for line in (work / _DONE).read_text().splitlines()}
    slices = dict(connection.execute("SELECT series, count(*) FROM slice GROUP BY 1 ORDER BY 1").fetchall())
    size = input_size(ORGAN_DEPLOY)
    jobs = [_Job(sample_database.absolute(), info["n4"], size, series) for series in slices if series not in done]
    with ExitStack() as stack:
        bar = stack.enter_context(progress(total=sum(slices.values()), desc="images", unit="slices"))
        files = {name: stack.enter_context(_writable(work / f"{name}.images")) for name in info["entries"]}
        journal = stack.enter_context((work / _DONE).open("a"))
        bar.update(sum(slices[series] for series in done))
        for job, images in zip(jobs, map_(_convert_series, jobs), strict=True):
            for of_lmdb in images:
                _put(of_lmdb, files[of_lmdb.name])
            journal.write(f"{job.series}\n")
            journal.flush()
            bar.update(slices[job.series])


def _writable(path: Path) -> BinaryIO:
    path.touch()
    return path.open("r+b")


def _put(images: ImageIndex, file: BinaryIO) -> None:
    """Write images to their places."""
    for key, image in zip(images.keys, images.images, strict=True):
        file.seek(key * image.size)
        file.write(image.data)
    file.flush()  # before the journal says so


def _write_lmdbs(connection: sqlite3.Connection, info: dict, work: Path) -> None:
    """Turn each ``<name>.images`` into an LMDB of the set."""
    sizes = {"organ": input_size(ORGAN_DEPLOY), "stage": STAGE_WINDOW}
    (work / _SET).mkdir(exist_ok=True)
    with progress(total=sum(info["entries"].values()), desc="LMDB", unit="entries") as bar:
        for name, count in info["entries"].items():
            task, split = name.split("_")
            images = work / f"{name}.images"
            if (work / _SET / name).exists():
                bar.update(count)
            else:
                labels = connection.execute(
                    "SELECT label FROM sample WHERE task = ? AND split = ? ORDER BY key", (task, split)
                )
                stored = _stored_images(images, sizes[task], count, bar.update)
                lmdb_io.write(work / name, stored, (label for (label,) in labels))
                (work / name).rename(work / _SET / name)
            images.unlink()  # so that the disk need not hold all images twice
    (work / _SET / lmdb_io.INFO).write_text(json.dumps(info, indent=2) + "\n")


def _stored_images(path: Path, size: int, count: int, done: Callable[[int], None]) -> Iterator[np.ndarray]:
    with path.open("rb") as file:
        for _ in range(count):
            yield np.frombuffer(file.read(size * size), np.uint8).reshape(size, size)
            done(1)


def _convert_series(job: _Job) -> list[ImageIndex]:
    """All images of one series.

    Raises:
        DatabaseError: a file is gone or changed.
    """
    with closing(database.connect(job.sample_database)) as connection:
        series, numbers = database.load_series(connection, job.series)
        samples = select_samples(connection, job.series)
    slices, volume = read_pixels(series)
    if len(slices) < len(series.slices):
        read = {id(image) for image in slices}
        record = next(image.record for image in series.slices if id(image) not in read)
        raise DatabaseError(f"{record.path} changed since the database was built: {record.reason}; build it anew")
    images = sample_images(samples, dict(zip(numbers, slices, strict=True)), volume, job.n4, job.organ_size)
    found: dict[str, tuple[list[int], list[np.ndarray]]] = {}
    for sample, image in zip(samples, images, strict=True):
        keys, of_lmdb = found.setdefault(f"{sample['task']}_{sample['split']}", ([], []))
        keys.append(sample["key"])
        of_lmdb.append(image)
    return [ImageIndex(name, keys, np.stack(of_lmdb)) for name, (keys, of_lmdb) in found.items()]


def _jitter(sample: sqlite3.Row) -> Jitter | None:
    values = [sample[name] for name in ("turn_deg", "zoom", "down", "right")]
    return None if values[0] is None else Jitter(*values)


def _window(padded: np.ndarray, turn: Canonical, stored_shape: tuple[int, int], sample: sqlite3.Row) -> np.ndarray:
    row, col = sample["row"], sample["col"]
    row, col, _, _ = turn.box_to_canonical((row, col, row, col), stored_shape)
    rows, columns = turn.shape(stored_shape)
    row *= (padded.shape[0] - STAGE_WINDOW) / rows
    col *= (padded.shape[1] - STAGE_WINDOW) / columns
    window = stage_window(padded, row, col)
    return window[:, ::-1] if sample["mirrored"] else window
