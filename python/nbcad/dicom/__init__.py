"""DICOM in: every file of a folder, a zip or a single file, sorted into series whose geometry is known.

Nothing is guessed. Each file ends as ``used``, ``refused`` (an object that cannot be analysed, with the tag that says
so) or ``ignored`` (no DICOM object at all, a result of this software, or a series that was not chosen).
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from nbcad.dicom import stacks
from nbcad.dicom.images import Image, read_images
from nbcad.dicom.pixels import read_pixels
from nbcad.dicom.sources import IGNORED, REFUSED, USED, FileRecord, Source, walk
from nbcad.dicom.study import read_study
from nbcad.dicom.types import Archive, Geometry, Series, Slice, StoredPixels, geometries, slice_step_mm
from nbcad.errors import InputError
from nbcad.language.message import message

if TYPE_CHECKING:
    from nbcad.runtime.parallel import (
        Map,  # which imports Caffe: the process that decodes frames need not wait for that
    )


__all__ = [
    "IGNORED", "REFUSED", "USED", "Archive", "FileRecord", "Geometry", "Series", "Slice", "Source", "StoredPixels",
    "geometries", "read_archive", "read_pixels", "read_sources", "read_study", "slice_step_mm",
]  # fmt: skip

FILES_A_PART = 256  # whose headers are read at a time


def read_archive(path: str | Path, map_: "Map" = map) -> Archive:
    """Sort all images below ``path`` (a folder, a zip or one file) into series.

    Pixels are not read yet. Files keep status ``used`` unless a reason against them is found here or in `read_pixels`.

    Args:
        path: of the images.
        map_: where headers are read.

    Raises:
        InputError: ``path`` does not exist, is a damaged zip, or holds no file.
    """
    archive = read_sources(walk(Path(path)), map_)
    if not archive.files:
        raise InputError(message("{path} holds no file", path=str(path)))
    return archive


def read_sources(sources: Iterable[Source | FileRecord], map_: "Map" = map) -> Archive:
    """Sort the images among ``sources`` into series, as `read_archive` does; records stand for what cannot be read."""
    files: list[FileRecord] = []
    images: list[Image] = []
    first: dict[str, Source] = {}
    for read in map_(_read_headers, _parts(sources)):
        for record, found in read:
            files.append(record)
            if not found:
                continue
            source = found[0].slice.source
            if (known := first.setdefault(found[0].slice.sop_uid, source)) is not source:
                record.set_aside(REFUSED, message("(0008,0018) SOP Instance UID is that of {path}", path=str(known)))
                continue
            images += found
    return Archive(stacks.build(images), files)


def _parts(sources: Iterable[Source | FileRecord]) -> Iterator[list[Source | FileRecord]]:
    sources = iter(sources)
    while part := list(islice(sources, FILES_A_PART)):
        yield part


def _read_headers(sources: list[Source | FileRecord]) -> list[tuple[FileRecord, list[Image]]]:
    """Read some files; return their records and the images in each."""
    read: list[tuple[FileRecord, list[Image]]] = []
    for source in sources:
        if isinstance(source, FileRecord):
            read.append((source, []))
        else:
            record = FileRecord(str(source))
            read.append((record, read_images(source, record)))
    return read
