"""The input files of a build: what became of each of them, in the table ``file``."""

import os
from pathlib import Path

from nbcad.annotation.files import LabelFile
from nbcad.dicom import IGNORED, REFUSED, USED
from nbcad.language.message import message
from nbcad.samples.build_run import Build
from nbcad.samples.rows import FileRow


def file_state(place: str) -> tuple[int, int] | None:
    """Return size in bytes and time of modification in ns of a file, or of the zip that holds it.

    Args:
        place: path, with "!" and the member in a zip.

    Returns:
        None where there is no regular file.
    """
    parts = place.split("!")
    for end in range(len(parts), 0, -1):
        path = Path("!".join(parts[:end]))
        if path.is_file():
            status = path.stat()
            return status.st_size, status.st_mtime_ns
    return None


def report_vanished(build: Build) -> None:
    """Report the files that earlier runs used and that are gone."""
    gone = [path for path, file in build.files.items() if file.status == USED and file_state(path) is None]
    if gone:
        more = f" and {len(gone) - 1} more files" if len(gone) > 1 else ""
        build.problems.append(f"{gone[0]}{more}: stands in the database, but is there no longer")


def record_files(build: Build, label_files: list[LabelFile]) -> None:
    """Record the outcome of every file that was read; a file that an earlier run used keeps its record."""
    outcomes: dict[str, tuple[str, str]] = {
        os.path.abspath(record.path): (record.status, str(record.reason)) for record in build.archive.files
    }
    places = {str(file.path.absolute()) for file in label_files}
    build.refused = sum(status == REFUSED for place, (status, _) in outcomes.items() if place not in places)
    used = build.database.label_file_paths()
    for file in label_files:
        place = str(file.path.absolute())
        if file.status == USED and place not in used:
            file.status, file.reason = IGNORED, message("of images that are not taken")
            build.idle_labels += 1
        outcomes[place] = file.status, str(file.reason)
    for place, (status, reason) in outcomes.items():
        before, now = build.files.get(place), FileRow(status, reason, *(file_state(place) or (0, 0)))
        if before is None:
            build.database.insert_file(place, now)
        elif before.status != USED and before != now:
            build.database.update_file(place, now)
