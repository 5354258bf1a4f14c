"""Rows of the sample database: series, slices, annotations and files."""

import hashlib
import os
import sqlite3

from nbcad.annotation.files import LabelFile
from nbcad.annotation.merge import SourcedAnnotations
from nbcad.dicom import IGNORED, REFUSED, USED, Series, Slice
from nbcad.errors import DatabaseError
from nbcad.nets.labels import NORMAL
from nbcad.samples.build_run import Build
from nbcad.samples.existing import file_state


def insert_series(build: Build, series: Series) -> int:
    return build.insert(
        "series",
        study=_study(build, series, build.patient(series)),
        series_uid=series.series_uid,
        weighting=series.weighting,
        phantom=series.phantom,
    )


def _study(build: Build, series: Series, patient: str) -> int:
    """The number of a series' study; patient and study are inserted if they are new."""
    build.connection.execute("INSERT OR IGNORE INTO patient VALUES (?, ?, ?)", (patient, NORMAL, build.run))
    known = build.connection.execute(
        "SELECT study FROM study WHERE patient = ? AND study_uid = ?", (patient, series.study_uid)
    ).fetchone()
    if known:
        return known[0]
    return build.insert("study", patient=patient, study_uid=series.study_uid, age_months=series.age_months)


def insert_slice(build: Build, series: int, image: Slice, pixel_sha256: str) -> int:
    try:
        return build.insert(
            "slice",
            series=series,
            sop_uid=image.sop_uid,
            frame=image.frame,
            path=str(image.source.path.absolute()),
            member=image.source.member,
            pixel_sha256=pixel_sha256,
        )
    except sqlite3.IntegrityError as error:
        raise DatabaseError(f"{image.source}: (0008,0018) SOP Instance UID stands in two series") from error


def insert_annotations(build: Build, number: int, said: SourcedAnnotations) -> None:
    for file, annotation in said:
        row = build.insert(
            "annotation",
            slice=number,
            label_file=_label_file(build, file),
            organ=annotation.organ,
            lesions_known=annotation.lesions_known,
        )
        for stage, box in annotation.lesions:
            build.connection.execute("INSERT INTO box VALUES (?, ?, ?, ?, ?, ?)", (row, stage, *box))


def _label_file(build: Build, file: LabelFile) -> int:
    """The number of a label file as it is now."""
    table = build.stages if file.source != "csv" else None
    values = {
        "path": str(file.path.absolute()),
        "source": file.source,
        "sha256": file.sha256,
        "stages_path": str(table.absolute()) if table else None,
        "stages_sha256": hashlib.sha256(table.read_bytes()).hexdigest() if table else None,
    }
    known = build.connection.execute(
        f"SELECT label_file FROM label_file WHERE {' AND '.join(f'{name} IS ?' for name in values)}",
        tuple(values.values()),
    ).fetchone()
    return known[0] if known else build.insert("label_file", **values)


def insert_files(build: Build, labels: list[LabelFile]) -> None:
    """Insert every file that was read; of one that stands there already, what became of it now, unless it was used."""
    found: dict[str, tuple[str, str]] = {os.path.abspath(r.path): (r.status, r.reason) for r in build.archive.files}
    places = {str(file.path.absolute()) for file in labels}
    build.refused = sum(status == REFUSED for place, (status, _) in found.items() if place not in places)
    used = {row[0] for row in build.connection.execute("SELECT path FROM label_file")}
    for file in labels:
        place = str(file.path.absolute())
        if file.status == USED and place not in used:
            file.status, file.reason = IGNORED, "of images that are not taken"
            build.idle_labels += 1
        found[place] = file.status, file.reason
    for place, (status, reason) in found.items():
        before = build.files.get(place)
        size, mtime_ns = file_state(place) or (0, 0)
        now = status, reason, size, mtime_ns
        if before is None:
            build.insert("file", path=place, status=status, reason=reason, bytes=size, mtime_ns=mtime_ns)
        elif before[0] != USED and before != now:
            build.connection.execute(
                "UPDATE file SET status = ?, reason = ?, bytes = ?, mtime_ns = ?, run = ? WHERE path = ?",
                (*now, build.run, place),
            )
