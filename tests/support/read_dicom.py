"""DICOM files read to the end, for tests of what becomes of one file."""

from pathlib import Path

import numpy as np

from nbcad.dicom import FileRecord, read_archive, read_pixels


def only(path: Path) -> tuple[FileRecord, list[np.ndarray]]:
    """Return the one file's record after all of its pixels were read, and the pixels by series."""
    archive = read_archive(path)
    pixels = [read_pixels(series)[1] for series in archive.series]
    (record,) = archive.files
    return record, pixels
