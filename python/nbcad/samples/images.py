"""The images of a sample database, read again from their files."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nbcad.dicom import Series, Slice, read_pixels, read_sources
from nbcad.errors import DatabaseError
from nbcad.runtime.progress import progress
from nbcad.samples.database import SampleDatabase
from nbcad.samples.rows import SliceFacts


def load_series(database: SampleDatabase, number: int) -> tuple[Series, list[int]]:
    """Read the headers of one series again from its files.

    Returns:
        The series, and the database's number of each of its slices, in order.

    Raises:
        DatabaseError: a file is gone or changed.
    """
    rows = database.slices_of(number)
    sources = dict.fromkeys(row.source for row in rows)
    found = {
        (image.sop_uid, image.frame): (series, image)
        for series in read_sources(sources).series
        for image in series.slices
    }
    try:
        # Not the series as they are sorted now: a slice that could not be decoded left a gap, which splits them.
        slices = [found[row.sop_uid, row.frame] for row in rows]
    except KeyError as error:
        raise DatabaseError(
            f"the files of series {number} in the database are gone or changed; rebuild the database"
        ) from error
    return replace(slices[0][0], slices=[image for _, image in slices]), [row.slice for row in rows]


def decode(series: Series) -> np.ndarray:
    """Decode every slice of a series that was loaded from a database.

    Returns:
        float32, shape (slices, rows, columns).

    Raises:
        DatabaseError: a slice can no longer be decoded.
    """
    slices, pixels = read_pixels(series)
    if len(slices) < len(series.slices):
        read = {id(image) for image in slices}
        record = next(image.record for image in series.slices if id(image) not in read)
        raise DatabaseError(
            f"{record.path} changed since the database was built: {record.reason}; rebuild the database"
        )
    return pixels


def labelled_series(database: SampleDatabase) -> Iterator[tuple[list[Slice], np.ndarray, list[SliceFacts]]]:
    """Read all series of a database again, with the labels of their slices.

    Yields:
        For each series its n slices, their pixels (float32, shape (n, rows, columns)) and n facts.

    Raises:
        DatabaseError: a file is gone or changed.
    """
    for number in progress(database.series_numbers(), desc="slices", unit="series"):
        series, _ = load_series(database, number)
        yield series.slices, decode(series), database.facts_of(number)


def pixel_hash(pixels: np.ndarray) -> str:
    """Return the SHA-256 over the shape and the values of a decoded slice, float32 of shape (rows, columns)."""
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
