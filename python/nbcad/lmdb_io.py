"""Samples to LMDB, as Caffe's Data layer reads it: one serialised Datum an entry, keys zero-padded in reading order."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import lmdb
import numpy as np

from nbcad import cli, database
from nbcad.caffe_net import caffe_pb2, input_size
from nbcad.errors import DatabaseError
from nbcad.preprocess import (
    STAGE_WINDOW,
    Canonical,
    Jitter,
    enhance,
    organ_input,
    pad_for_windows,
    stage_grid,
    stage_window,
)
from nbcad.series import read_pixels

ORGAN_DEPLOY = "models/organ_net/deploy.prototxt"
_DATUM_OVERHEAD = 128  # bytes of an entry besides its pixels
_Entry = tuple[str, int, bytes]  # LMDB's name, key, serialised Datum


def convert(sample_database: Path, out: Path, n4: bool, workers: int, force: bool) -> dict[str, int]:
    """Make the images of all planned samples: ``organ_train``, ``organ_val``, ... ``stage_test`` below ``out``.

    All are written to temporary folders and take their names together at the end.

    Args:
        sample_database: SQLite file of `database.build`.
        out: folder of the LMDBs.
        n4: see `preprocess.enhance`.
        workers: processes that decode and preprocess.
        force: replace LMDBs that stand there.

    Returns:
        Number of entries by LMDB name.

    Raises:
        OutputExistsError: an LMDB stands there and ``force`` is false.
        DatabaseError: the database is missing, or files changed since it was built.
    """
    with closing(database.connect(sample_database)) as connection:
        rows = connection.execute("SELECT task || '_' || split, count(*) FROM sample GROUP BY 1 ORDER BY 1")
        counts = dict(rows.fetchall())
        series = [row[0] for row in connection.execute("SELECT DISTINCT series FROM slice ORDER BY series")]
    for name in counts:
        cli.refuse_existing(out / name, force)
    bytes_each = {"organ": input_size(ORGAN_DEPLOY) ** 2, "stage": STAGE_WINDOW**2}
    with ExitStack() as stack:
        environments = {}
        for name, count in counts.items():
            folder = stack.enter_context(cli.replacing_folder(out / name))
            size = 4 * count * (bytes_each[name.split("_")[0]] + _DATUM_OVERHEAD) + (16 << 20)
            environments[name] = stack.enter_context(lmdb.open(str(folder), map_size=size, sync=False))
        pool = stack.enter_context(ProcessPoolExecutor(workers))
        jobs = pool.map(_convert_series, [sample_database] * len(series), series, [n4] * len(series))
        for entries in cli.progress(jobs, total=len(series), desc="LMDB", unit="series"):
            _write(environments, entries)
        for name, environment in environments.items():
            if environment.stat()["entries"] != counts[name]:
                raise DatabaseError(f"{out / name}: {environment.stat()['entries']} of {counts[name]} entries")
            environment.sync(True)
    (out / "info.json").write_text(json.dumps({"n4": n4, "entries": counts}, indent=2) + "\n")
    return counts


def read(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """All images and labels of an LMDB, in key order.

    Returns:
        uint8 of shape (n, height, width), and int of shape (n,).

    Raises:
        DatabaseError: the LMDB is missing or empty.
    """
    datums = []
    for _, value in _entries(path):
        datum = caffe_pb2.Datum.FromString(value)
        datums.append((np.frombuffer(datum.data, np.uint8).reshape(datum.height, datum.width), datum.label))
    images, labels = zip(*datums, strict=True)
    return np.stack(images), np.array(labels)


def fingerprint(path: str | Path) -> str:
    """SHA-256 over all keys and values of an LMDB, in key order."""
    digest = hashlib.sha256()
    for key, value in _entries(path):
        digest.update(key)
        digest.update(value)
    return digest.hexdigest()


def serialise(image: np.ndarray, label: int) -> bytes:
    """One Datum of a uint8 image of shape (height, width)."""
    height, width = image.shape
    datum = caffe_pb2.Datum(channels=1, height=height, width=width, data=image.tobytes(), label=label)
    return datum.SerializeToString()


def write(path: str | Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write uint8 images of shape (n, height, width) and their labels as one LMDB, replacing what stands there."""
    with cli.replacing_folder(path) as folder:
        size = 4 * (images.nbytes + len(images) * _DATUM_OVERHEAD) + (16 << 20)
        with lmdb.open(str(folder), map_size=size) as environment:
            name = Path(path).name
            entries = [
                (name, key, serialise(image, int(label)))
                for key, (image, label) in enumerate(zip(images, labels, strict=True))
            ]
            _write({name: environment}, entries)


def _write(environments: dict[str, lmdb.Environment], entries: list[_Entry]) -> None:
    for name, environment in environments.items():
        with environment.begin(write=True) as transaction:
            for entry_name, key, datum in entries:
                if entry_name == name:
                    transaction.put(f"{key:010d}".encode(), datum)


def _entries(path: str | Path) -> Iterator[tuple[bytes, bytes]]:
    path = Path(path)
    if not (path / "data.mdb").is_file():
        raise DatabaseError(f"LMDB {path} does not exist; run `make data`")
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        if environment.stat()["entries"] == 0:
            raise DatabaseError(f"LMDB {path} is empty")
        yield from transaction.cursor()


def _convert_series(sample_database: Path, number: int, n4: bool) -> list[_Entry]:
    """All samples of one series of the database."""
    with closing(database.connect(sample_database)) as connection:
        series, slice_numbers = database.load_series(connection, number)
        samples = connection.execute(
            "SELECT sample.* FROM sample JOIN slice USING (slice) WHERE series = ? ORDER BY slice", (number,)
        ).fetchall()
    slices, volume = read_pixels(series)
    enhanced = dict(zip(slice_numbers, zip(slices, enhance(volume, n4), strict=True), strict=True))
    grids: dict[int, np.ndarray] = {}
    entries = []
    for sample in samples:
        stored, pixels = enhanced[sample["slice"]]
        turn = Canonical.of(stored.geometry)
        spacing = turn.spacing(stored.spacing)
        if sample["task"] == "organ":
            image = organ_input(turn.apply(pixels), spacing, input_size(ORGAN_DEPLOY), _jitter(sample))
        else:
            if sample["slice"] not in grids:
                grids[sample["slice"]] = pad_for_windows(stage_grid(turn.apply(pixels), spacing))
            image = _window(grids[sample["slice"]], turn, pixels.shape, sample)
        entries.append((f"{sample['task']}_{sample['split']}", sample["key"], serialise(image, sample["label"])))
    return entries


def _jitter(sample) -> Jitter | None:
    values = [sample[name] for name in ("turn_deg", "zoom", "down", "right")]
    return None if values[0] is None else Jitter(*values)


def _window(padded: np.ndarray, turn: Canonical, stored_shape: tuple[int, int], sample) -> np.ndarray:
    place = (sample["row"], sample["col"]) * 2
    row, col, _, _ = turn.box_to_canonical(place, stored_shape)
    rows, columns = turn.shape(stored_shape)
    row *= (padded.shape[0] - STAGE_WINDOW) / rows
    col *= (padded.shape[1] - STAGE_WINDOW) / columns
    window = stage_window(padded, row, col)
    return window[:, ::-1] if sample["mirrored"] else window
