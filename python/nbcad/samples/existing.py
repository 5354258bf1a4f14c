"""What a sample database already holds, compared with what is there now."""

import os
import sqlite3
from dataclasses import dataclass, field, replace
from pathlib import Path

from nbcad.annotation.annotations import SliceAnnotation
from nbcad.annotation.image_index import Key
from nbcad.dicom import IGNORED, REFUSED, USED, Series, Source, read_pixels
from nbcad.samples.build_run import Build
from nbcad.samples.database import pixel_hash


@dataclass
class ExistingSlice:
    """What a database already holds of one slice."""

    slice: int
    series: int
    patient: str
    place: str  # absolute path, with the member of a zip
    pixel_sha256: str
    annotations: dict[str, SliceAnnotation] = field(default_factory=dict)  # by the label file's path


def read_existing(connection: sqlite3.Connection) -> dict[Key, ExistingSlice]:
    """What the database holds, by slice."""
    held: dict[Key, ExistingSlice] = {}
    by_slice: dict[int, ExistingSlice] = {}
    by_annotation: dict[int, SliceAnnotation] = {}
    for sop_uid, frame, number, series, patient, path, member, digest in connection.execute(
        "SELECT sop_uid, frame, slice, series, patient, path, member, pixel_sha256"
        " FROM slice JOIN series USING (series) JOIN study USING (study)"
    ):
        place = str(Source(Path(path), member))
        held[sop_uid, frame] = by_slice[number] = ExistingSlice(number, series, patient, place, digest)
    for number, of_slice, path, organ, known in connection.execute(
        "SELECT annotation, slice, path, organ, lesions_known FROM annotation JOIN label_file USING (label_file)"
    ):
        said = by_annotation[number] = SliceAnnotation(organ, bool(known))
        by_slice[of_slice].annotations[path] = said
    for number, stage, row0, col0, row1, col1 in connection.execute("SELECT * FROM box ORDER BY rowid"):
        by_annotation[number].lesions.append((stage, (row0, col0, row1, col1)))
    return held


def compare(build: Build, series: Series, held: dict[Key, ExistingSlice]) -> None:
    """Name what is not as the database has it; a series that stands there does not grow."""
    of_series = [(image, held.get((image.sop_uid, image.frame))) for image in series.slices]
    stands = next(standing for _, standing in of_series if standing)
    if stands.patient != build.patient(series):
        build.problems.append(
            f"{stands.place}: (0010,0020) Patient ID is another than in the database; --force builds anew"
        )
    touched = []
    for image, standing in of_series:
        place = os.path.abspath(str(image.source))
        before = build.files.get(place)
        if before and before[2:] != file_state(place):
            before = None  # it was another file
        if standing is None and before and before[0] != USED:
            image.set_aside(*before[:2])  # as it was found then
        elif standing is None:
            reason = "a further slice of a series that stands in the database; --force builds it anew"
            image.set_aside(REFUSED, reason)
            build.problems.append(f"{place}: {reason}")
        elif place != standing.place:
            image.set_aside(IGNORED, f"stands in the database as {standing.place}")
        elif before is None:
            touched.append(image)
    if not touched:
        return
    slices, volume = read_pixels(replace(series, slices=touched))
    now = {id(image): pixel_hash(pixels) for image, pixels in zip(slices, volume, strict=True)}
    for image in touched:
        if now.get(id(image)) != held[image.sop_uid, image.frame].pixel_sha256:
            build.problems.append(f"{image.source}: has changed since it came into the database; --force builds anew")


def report_vanished(build: Build) -> None:
    gone = [path for path, (status, *_) in build.files.items() if status == USED and file_state(path) is None]
    if gone:
        more = f" and {len(gone) - 1} more files" if len(gone) > 1 else ""
        build.problems.append(f"{gone[0]}{more}: stands in the database, but is there no longer")


def file_state(place: str) -> tuple[int, int] | None:
    """Size in bytes and time in ns of a file, or of the zip that holds it; None: there is no regular file."""
    parts = place.split("!")
    for end in range(len(parts), 0, -1):
        path = Path("!".join(parts[:end]))
        if path.is_file():
            status = path.stat()
            return status.st_size, status.st_mtime_ns
    return None
