"""LMDBs as Caffe's Data layer reads them: one serialised Datum an entry, keys zero-padded in reading order.

Beside ``data.mdb`` lies a file ``complete`` with the number of entries, written last: what lacks it is unfinished, and
nothing here reads it. A folder of LMDBs made from one sample database by `conversion.convert` has an ``info.json``.
"""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import lmdb
import numpy as np

from nbcad.errors import DatabaseError
from nbcad.nets.caffe_net import caffe_pb2
from nbcad.runtime.files import replacing_folder
from nbcad.samples import database

COMPLETE = "complete"
INFO = "info.json"
FIRST_MAP = 64 << 20  # bytes; doubled whenever it is full
_TRANSACTION = 1000  # entries


def write(path: str | Path, images: Iterable[np.ndarray], labels: Iterable[int]) -> None:
    """Write one LMDB, replacing what stands there; memory does not grow with the number of images.

    Args:
        path: the LMDB's folder.
        images: uint8, each of shape (height, width), in the order of the keys 0, 1, ...
        labels: as many.

    Raises:
        DatabaseError: LMDB cannot write, e.g. for want of space.
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
            # On a full disk LMDB speaks of an input/output error.
            free = shutil.disk_usage(folder).free >> 20
            raise DatabaseError(f"LMDB {path} cannot be written: {error}; {free} MiB are free there") from error
        with (folder / COMPLETE).open("w") as marker:
            marker.write(f"{count}\n")
            marker.flush()
            os.fsync(marker.fileno())


def read(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels of an LMDB, in key order.

    Returns:
        uint8 of shape (n, height, width), and int of shape (n,).

    Raises:
        DatabaseError: the LMDB is missing, not complete or empty.
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
    """Images, labels and patients of one of the LMDBs of a sample database, in key order.

    Args:
        sample_database: SQLite file.
        folder: of its LMDBs.
        task: "organ" or "stage".
        split: the side.

    Returns:
        uint8 of shape (n, height, width), int of shape (n,), and str of shape (n,).

    Raises:
        DatabaseError: the LMDB is missing, not complete or empty, or was not made from this database.
    """
    images, labels = read(folder / f"{task}_{split}")
    with closing(database.connect(sample_database)) as connection:
        rows = connection.execute(
            "SELECT patient FROM sample JOIN slice_side USING (slice) WHERE task = ? AND split = ? ORDER BY key",
            (task, split),
        ).fetchall()
        check_made_from(folder, connection)
    return images, labels, np.array([row["patient"] for row in rows])


def fingerprint(path: str | Path) -> str:
    """SHA-256 over all keys and values of an LMDB, in key order.

    Raises:
        DatabaseError: the LMDB is missing, not complete or empty.
    """
    digest = hashlib.sha256()
    for key, value in _entries(path):
        digest.update(key)
        digest.update(value)
    return digest.hexdigest()


def label_range(path: str | Path) -> tuple[int, int]:
    """Lowest and highest label of an LMDB.

    Raises:
        DatabaseError: the LMDB is missing, not complete or empty.
    """
    labels = {caffe_pb2.Datum.FromString(value).label for _, value in _entries(path)}
    return min(labels), max(labels)


def serialise(image: np.ndarray, label: int) -> bytes:
    """One Datum of a uint8 image of shape (height, width)."""
    height, width = image.shape
    datum = caffe_pb2.Datum(channels=1, height=height, width=width, data=image.tobytes(), label=label)
    return datum.SerializeToString()


def samples_fingerprint(connection: sqlite3.Connection) -> str:
    """SHA-256 over all that a sample database says of its LMDBs' entries: samples, and the pixels they are cut from."""
    digest = hashlib.sha256()
    for row in connection.execute(
        "SELECT sample.*, sop_uid, frame, pixel_sha256 FROM sample JOIN slice USING (slice) ORDER BY task, split, key"
    ):
        digest.update(repr(tuple(row)).encode())
    return digest.hexdigest()


def read_info(folder: str | Path) -> dict:
    """What ``info.json`` says of a folder of LMDBs: ``n4``, ``entries``, ``samples_sha256``, ``software``.

    Raises:
        DatabaseError: it is missing or malformed.
    """
    path = Path(folder) / INFO
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise DatabaseError(f"{path} does not exist; run `make data`") from error
    except ValueError as error:
        raise DatabaseError(f"{path} is malformed: {error}; run tools/make_lmdb.py") from error


def check_made_from(folder: str | Path, connection: sqlite3.Connection) -> None:
    """Refuse LMDBs that were made from another state of the sample database.

    Raises:
        DatabaseError: they were, or nothing says that they were not.
    """
    if read_info(folder).get("samples_sha256") != samples_fingerprint(connection):
        raise DatabaseError(f"the LMDBs in {folder} were made from another sample database; run tools/make_lmdb.py")


def _append(environment: lmdb.Environment, entries: list[tuple[int, bytes]]) -> None:
    """Add entries behind all others in one transaction; if the map is full, double it and begin anew."""
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
    path = Path(path)
    if not (path / "data.mdb").is_file():
        raise DatabaseError(f"LMDB {path} does not exist; run `make data`")
    if not (path / COMPLETE).is_file():
        raise DatabaseError(
            f"LMDB {path} is not finished: it has no file `{COMPLETE}` with its number of entries; make it anew"
        )
    count = int((path / COMPLETE).read_text())
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        entries = environment.stat()["entries"]
        if entries != count:
            raise DatabaseError(f"LMDB {path} has {entries} entries, not {count} as when it was finished; make it anew")
        if entries == 0:
            raise DatabaseError(f"LMDB {path} is empty")
        yield from transaction.cursor()
