"""LMDBs as Caffe's Data layer reads them: one serialised Datum an entry, keys zero-padded in reading order.

Beside ``data.mdb`` lies a file ``complete`` with the number of entries, which is written last. An LMDB without it is
unfinished, and nothing here reads it. A folder of LMDBs made from one sample database by `conversion.convert` also has
an ``info.json``.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import lmdb
import numpy as np

from nbcad.errors import DatabaseError
from nbcad.nets.caffe_net import caffe_pb2
from nbcad.runtime.files import replacing_folder
from nbcad.runtime.json_file import read_json
from nbcad.samples.database import SampleDatabase

COMPLETE = "complete"
INFO = "info.json"
FIRST_MAP = 64 << 20  # bytes; doubled whenever it is full
_TRANSACTION = 1000  # entries


def write(path: str | Path, images: Iterable[np.ndarray], labels: Iterable[int]) -> None:
    """Write one LMDB, replacing an earlier one; memory does not grow with the number of images.

    Args:
        path: the LMDB's folder.
        images: uint8, each of shape (height, width), in the order of the keys 0, 1, ...
        labels: one for each image.

    Raises:
        DatabaseError: LMDB cannot write, for example because the disk is full.
    """
    entries = enumerate(serialise(image, int(label)) for image, label in zip(images, labels, strict=True))
    with replacing_folder(path) as folder:
        try:
            with lmdb.open(str(folder), map_size=FIRST_MAP, sync=False) as environment:
                while batch := list(islice(entries, _TRANSACTION)):
                    _append(environment, batch)
                environment.sync(True)
                count = environment.stat()["entries"]
        except lmdb.Error as error:
            # On a full disk LMDB reports an input/output error.
            free = shutil.disk_usage(folder).free >> 20
            raise DatabaseError(f"LMDB {path} cannot be written: {error}; {free} MiB are free there") from error
        with (folder / COMPLETE).open("w") as marker:
            marker.write(f"{count}\n")
            marker.flush()
            os.fsync(marker.fileno())


def read(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read all images and labels of an LMDB, in key order.

    Returns:
        uint8 of shape (n, height, width), and int of shape (n,).

    Raises:
        DatabaseError: the LMDB is missing, incomplete or empty.
    """
    datums = []
    for _, value in _entries(path):
        datum = caffe_pb2.Datum.FromString(value)
        datums.append((np.frombuffer(datum.data, np.uint8).reshape(datum.height, datum.width), datum.label))
    images, labels = zip(*datums, strict=True)
    return np.stack(images), np.array(labels)


def read_samples(
    sample_database: Path, folder: Path, task: str, split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the images, labels and patients of one LMDB of a sample database, in key order.

    Args:
        sample_database: SQLite file.
        folder: folder of its LMDBs.
        task: "organ" or "stage".
        split: the side.

    Returns:
        uint8 of shape (n, height, width), int of shape (n,), and str of shape (n,).

    Raises:
        DatabaseError: the LMDB is missing, incomplete or empty, or was not made from this database.
    """
    images, labels = read(folder / f"{task}_{split}")
    with SampleDatabase.open(sample_database) as database:
        patients = database.patients_in(task, split)
        check_made_from(folder, database)
    return images, labels, np.array(patients)


def fingerprint(path: str | Path) -> str:
    """Return the SHA-256 over all keys and values of an LMDB, in key order.

    Raises:
        DatabaseError: the LMDB is missing, incomplete or empty.
    """
    digest = hashlib.sha256()
    for key, value in _entries(path):
        digest.update(key)
        digest.update(value)
    return digest.hexdigest()


def label_range(path: str | Path) -> tuple[int, int]:
    """Return the lowest and the highest label of an LMDB.

    Raises:
        DatabaseError: the LMDB is missing, incomplete or empty.
    """
    labels = {caffe_pb2.Datum.FromString(value).label for _, value in _entries(path)}
    return min(labels), max(labels)


def serialise(image: np.ndarray, label: int) -> bytes:
    """Return a serialised Datum of a uint8 image of shape (height, width)."""
    height, width = image.shape
    datum = caffe_pb2.Datum(channels=1, height=height, width=width, data=image.tobytes(), label=label)
    return datum.SerializeToString()


@dataclass(frozen=True, slots=True)
class LmdbInfo:
    """``info.json``: what a set of LMDBs was made from; docs/formats/info.schema.json describes every field."""

    n4: bool
    entries: dict[str, int]  # by name of the LMDB
    samples_sha256: str  # of `SampleDatabase.samples_sha256`
    software: dict[str, str]  # of `machine.software`


def read_info(folder: str | Path) -> LmdbInfo:
    """Return what ``info.json`` says of a folder of LMDBs.

    Raises:
        DatabaseError: the file is missing or malformed.
    """
    path = Path(folder) / INFO
    if not path.exists():
        raise DatabaseError(f"{path} does not exist; run `make data`")
    return read_json(path, LmdbInfo, DatabaseError, "run `nbcad make-lmdb`")


def check_made_from(folder: str | Path, database: SampleDatabase) -> None:
    """Refuse LMDBs that were made from another state of the sample database.

    Raises:
        DatabaseError: they were, or their ``info.json`` does not say.
    """
    if read_info(folder).samples_sha256 != database.samples_sha256():
        raise DatabaseError(f"the LMDBs in {folder} were made from another sample database; run `nbcad make-lmdb`")


def _append(environment: lmdb.Environment, entries: list[tuple[int, bytes]]) -> None:
    """Append entries in one transaction; if the map is full, double it and start the transaction again."""
    while True:
        try:
            with environment.begin(write=True) as transaction:
                for key, datum in entries:
                    transaction.put(f"{key:010d}".encode(), datum, append=True)
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])
        else:
            return


def _entries(path: str | Path) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of an LMDB, in key order; see `read` for errors."""
    path = Path(path)
    if not (path / "data.mdb").is_file():
        raise DatabaseError(f"LMDB {path} does not exist; run `make data`")
    if not (path / COMPLETE).is_file():
        raise DatabaseError(
            f"LMDB {path} is not finished: it has no file `{COMPLETE}` with its number of entries; make it again"
        )
    count = int((path / COMPLETE).read_text())
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        entries = environment.stat()["entries"]
        if entries != count:
            raise DatabaseError(
                f"LMDB {path} has {entries} entries, not {count} as when it was finished; make it again"
            )
        if entries == 0:
            raise DatabaseError(f"LMDB {path} is empty")
        yield from transaction.cursor()
