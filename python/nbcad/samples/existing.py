"""Comparison of a series that the database holds already with its files as they are now."""

import os
from dataclasses import replace

from nbcad.annotation.image_index import Key
from nbcad.dicom import IGNORED, REFUSED, USED, Series, Slice, read_pixels
from nbcad.language.message import message, verbatim
from nbcad.samples.build_run import Build
from nbcad.samples.images import pixel_hash
from nbcad.samples.input_files import file_state
from nbcad.samples.rows import ExistingSlice, FileRow


def compare(build: Build, series: Series, existing: dict[Key, ExistingSlice]) -> None:
    """Report what differs from the database in a series of which it holds at least one slice.

    The series does not grow: a further slice is refused. Pixels are decoded again only of a file whose size or time
    has changed since an earlier run.
    """
    known = next(existing[key] for image in series.slices if (key := (image.sop_uid, image.frame)) in existing)
    if known.patient != build.patient_hash(series):
        build.problems.append(f"{known.place}: (0010,0020) Patient ID differs from the database; --force rebuilds it")
    touched = []
    for image in series.slices:
        place = os.path.abspath(str(image.source))
        stored = existing.get((image.sop_uid, image.frame))
        if stored is None:
            _set_aside_further(build, image, place)
        elif place != stored.place:
            image.set_aside(IGNORED, message("stands in the database as {path}", path=stored.place))
        elif _unchanged_file(build, place) is None:
            touched.append(image)
    if touched:
        _compare_pixels(build, replace(series, slices=touched), existing)


def _unchanged_file(build: Build, place: str) -> FileRow | None:
    """Return the record of a file by an earlier run, or None if the file has changed since or is new."""
    file = build.files.get(place)
    return file if file and file.state == file_state(place) else None


def _set_aside_further(build: Build, image: Slice, place: str) -> None:
    """Set aside a further slice of a known series: as an earlier run did, or refused as it came later."""
    file = _unchanged_file(build, place)
    if file and file.status != USED:
        image.set_aside(file.status, verbatim(file.reason))
        return
    reason = message("a further slice of a series in the database; --force rebuilds it")
    image.set_aside(REFUSED, reason)
    build.problems.append(f"{place}: {reason}")


def _compare_pixels(build: Build, series: Series, existing: dict[Key, ExistingSlice]) -> None:
    """Report each slice of a series whose pixels are not those that the database knows."""
    slices, volume = read_pixels(series)
    hashes = {id(image): pixel_hash(pixels) for image, pixels in zip(slices, volume, strict=True)}
    for image in series.slices:
        if hashes.get(id(image)) != existing[image.sop_uid, image.frame].pixel_sha256:
            build.problems.append(f"{image.source}: has changed since it came into the database; --force rebuilds it")
