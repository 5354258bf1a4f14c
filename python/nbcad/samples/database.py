"""The sample database (paper 3.1(1)): which slice of which patient is which sample, on which side of the split.

One SQLite file (schema.sql). Patients stand under a keyed hash; the key lies beside the database and nowhere else.
`build.build` makes it, `conversion.convert` makes the images of its samples.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from nbcad.dicom import Series, Slice, Source, read_pixels, read_sources
from nbcad.errors import DatabaseError
from nbcad.nets.labels import organ_labels, stage_labels
from nbcad.runtime.progress import progress
from nbcad.samples import splitting

SCHEMA_VERSION = 2
SPLITS = splitting.SIDES


def connect(database: str | Path) -> sqlite3.Connection:
    """Open a sample database for reading.

    Raises:
        DatabaseError: it is missing, no SQLite file, or of another schema version.
    """
    database = Path(database)
    if not database.is_file():
        raise DatabaseError(f"sample database {database} does not exist; run `make data`")
    connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        version = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    except sqlite3.DatabaseError as error:
        raise DatabaseError(f"{database} is no sample database: {error}") from error
    if version is None or int(version[0]) != SCHEMA_VERSION:
        raise DatabaseError(f"{database} has another schema version than {SCHEMA_VERSION}; build it anew with --force")
    return connection


def class_counts(connection: sqlite3.Connection) -> dict[str, dict[str, dict[str, int]]]:
    """Number of samples by task, split and label name."""
    names = {"organ": organ_labels(), "stage": stage_labels()}
    counts = {task: {split: dict.fromkeys(names[task], 0) for split in SPLITS} for task in names}
    for task, split, label, count in connection.execute(
        "SELECT task, split, label, count(*) FROM sample GROUP BY task, split, label"
    ):
        counts[task][split][names[task][label]] = count
    return counts


def is_synthetic(connection: sqlite3.Connection) -> bool:
    """Whether any image of the database is a phantom's, so that no figure may be taken for a patient's."""
    return connection.execute("SELECT max(phantom) FROM series").fetchone()[0] == 1


def load_series(connection: sqlite3.Connection, series: int) -> tuple[Series, list[int]]:
    """Read one series of the database again from its files.

    Returns:
        The series, and the database's number of each of its slices, in order.

    Raises:
        DatabaseError: a file is gone or changed.
    """
    rows = connection.execute(
        "SELECT slice, sop_uid, frame, path, member FROM slice WHERE series = ? ORDER BY slice", (series,)
    ).fetchall()
    sources = dict.fromkeys(Source(Path(path), member) for *_, path, member in rows)
    found = {(image.sop_uid, image.frame): (s, image) for s in read_sources(sources).series for image in s.slices}
    try:
        # Not the series as they are sorted now: a slice that could not be decoded left a gap, which splits them.
        slices = [found[sop_uid, frame] for _, sop_uid, frame, *_ in rows]
    except KeyError as error:
        raise DatabaseError(
            f"the files of series {series} in the database are gone or changed; build it anew"
        ) from error
    return replace(slices[0][0], slices=[image for _, image in slices]), [row[0] for row in rows]


def labelled_series(connection: sqlite3.Connection) -> Iterator[tuple[list[Slice], np.ndarray, list[sqlite3.Row]]]:
    """Read the series of a database once more, with what is known of their slices.

    Yields:
        For each series its slices, their pixels (float32, shape (slices, rows, columns)) and as many rows of ``organ``
        (None: not known), ``patient`` and ``side``.

    Raises:
        DatabaseError: a file is gone or changed.
    """
    numbers = [row[0] for row in connection.execute("SELECT series FROM series ORDER BY series")]
    for number in progress(numbers, desc="slices", unit="series"):
        series, slice_numbers = load_series(connection, number)
        rows = connection.execute(
            "SELECT slice, organ, patient, side FROM slice_label JOIN slice_side USING (slice)"
            " WHERE slice_label.series = ?",
            (number,),
        )
        known = {row["slice"]: row for row in rows}
        slices, pixels = read_pixels(series)
        yield slices, pixels, [known[of_slice] for of_slice in slice_numbers]


def pixel_hash(pixels: np.ndarray) -> str:
    """SHA-256 over the shape and the values of one decoded slice, float32 of shape (rows, columns)."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
