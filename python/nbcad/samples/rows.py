"""Rows of the sample database: series, slices, annotations and files."""

import hashlib
import os
import sqlite3

from nbcad.annotation.files import LabelFile
from nbcad.annotation.merge import Said
from nbcad.dicom import IGNORED, REFUSED, USED, Series, Slice
from nbcad.errors import DatabaseError
from nbcad.nets.labels import NORMAL
from nbcad.samples.build_run import Build
from nbcad.samples.existing import file_state


def insert_series(this: Build, series: Series) -> int:
    return this.insert(
        "series",
        study=_study(this, series, this.patient(series)),
        series_uid=series.series_uid,
        weighting=series.weighting,
        phantom=series.phantom,
    )


def _study(this: Build, series: Series, patient: str) -> int:
    """The number of a series' study; patient and study are inserted if they are new."""
    this.connection.execute("INSERT OR IGNORE INTO patient VALUES (?, ?, ?)", (patient, NORMAL, this.run))
    known = this.connection.execute(
        "SELECT study FROM study WHERE patient = ? AND study_uid = ?", (patient, series.study_uid)
    ).fetchone()
    if known:
        return known[0]
    return this.insert("study", patient=patient, study_uid=series.study_uid, age_months=series.age_months)


def insert_slice(this: Build, series: int, image: Slice, pixel_sha256: str) -> int:
    try:
        return this.insert(
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


def insert_annotations(this: Build, number: int, said: Said) -> None:
    for file, annotation in said:
        row = this.insert(
            "annotation",
            slice=number,
            label_file=_label_file(this, file),
            organ=annotation.organ,
            lesions_known=annotation.lesions_known,
        )
        for stage, box in annotation.lesions:
            this.connection.execute("INSERT INTO box VALUES (?, ?, ?, ?, ?, ?)", (row, stage, *box))


def _label_file(this: Build, file: LabelFile) -> int:
    """The number of a label file as it is now."""
    table = this.stages if file.source != "csv" else None
    values = {
        "path": str(file.path.absolute()),
        "source": file.source,
        "sha256": file.sha256,
        "stages_path": str(table.absolute()) if table else None,
        "stages_sha256": hashlib.sha256(table.read_bytes()).hexdigest() if table else None,
    }
    known = this.connection.execute(
        f"SELECT label_file FROM label_file WHERE {' AND '.join(f'{name} IS ?' for name in values)}",
        tuple(values.values()),
    ).fetchone()
    return known[0] if known else this.insert("label_file", **values)


def insert_files(this: Build, labels: list[LabelFile]) -> None:
    """Insert every file that was read; of one that stands there already, what became of it now, unless it was used."""
    found = {os.path.abspath(record.path): (record.status, record.reason) for record in this.archive.files}
    places = {str(file.path.absolute()) for file in labels}
    this.refused = sum(status == REFUSED for place, (status, _) in found.items() if place not in places)
    used = {row[0] for row in this.connection.execute("SELECT path FROM label_file")}
    for file in labels:
        place = str(file.path.absolute())
        if file.status == USED and place not in used:
            file.status, file.reason = IGNORED, "of images that are not taken"
            this.idle_labels += 1
        found[place] = file.status, file.reason
    for place, (status, reason) in found.items():
        before = this.files.get(place)
        size, mtime_ns = file_state(place) or (0, 0)
        now = status, reason, size, mtime_ns
        if before is None:
            this.insert("file", path=place, status=status, reason=reason, bytes=size, mtime_ns=mtime_ns)
        elif before[0] != USED and before != now:
            this.connection.execute(
                "UPDATE file SET status = ?, reason = ?, bytes = ?, mtime_ns = ?, run = ? WHERE path = ?",
                (*now, this.run, place),
            )
