"""Audit of a sample database: who is on which side, where each label comes from, and whether all is still as it was."""

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

from nbcad.dicom import read_pixels
from nbcad.errors import DatabaseError, SplitError
from nbcad.runtime.progress import progress
from nbcad.samples import database, splitting


def audit(sample_database: Path) -> list[str]:
    """Check a database against itself and against its files: every pixel and every label file by its hash.

    Returns:
        A line for everything that is not as the database says.
    """
    with closing(database.connect(sample_database)) as connection:
        problems = _sides(connection) + _labels(connection)
        try:
            splitting.refuse_leaks(connection)
        except SplitError as error:
            problems.append(str(error))
        numbers = [row[0] for row in connection.execute("SELECT series FROM series ORDER BY series")]
        for number in progress(numbers, desc="audit", unit="series"):
            problems += _pixels(connection, number)
    return problems


def describe(sample_database: Path) -> list[str]:
    """Options, runs, and labels by source and side, a line each."""
    with closing(database.connect(sample_database)) as connection:
        meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
        lines = ["options: " + ", ".join(f"{k} {v}" for k, v in meta.items() if k != "key_check")]
        for run, time, version in connection.execute("SELECT run, time, nbcad_version FROM run ORDER BY run"):
            added = {
                table: connection.execute(f"SELECT count(*) FROM {table} WHERE run = ?", (run,)).fetchone()[0]
                for table in ("patient", "series", "slice", "annotation", "sample")
            }
            lines.append(f"run {run}, {time}, nbcad {version}: " + ", ".join(f"{t} {n}" for t, n in added.items()))
        for row in connection.execute(
            "SELECT source, side, count(DISTINCT label_file), count(DISTINCT slice), count(box.annotation)"
            " FROM annotation JOIN label_file USING (label_file) JOIN slice_side USING (slice)"
            " LEFT JOIN box USING (annotation) GROUP BY source, side ORDER BY source, side"
        ):
            lines.append("labels from {}, {}: files {}, slices {}, boxes {}".format(*row))
        lines += splitting.describe(connection)
    return lines


def patients(sample_database: Path) -> list[str]:
    """A CSV of all patients: hash, stage, side, fold, slices, and the sources of the labels."""
    with closing(database.connect(sample_database)) as connection:
        rows = connection.execute(
            "SELECT patient.patient, stage, group_concat(DISTINCT slice_side.side), max(split.fold),"
            " count(DISTINCT slice_side.slice), group_concat(DISTINCT source)"
            " FROM patient JOIN slice_side USING (patient) LEFT JOIN split ON split.patient = patient.patient"
            " LEFT JOIN annotation ON annotation.slice = slice_side.slice LEFT JOIN label_file USING (label_file)"
            " GROUP BY patient.patient ORDER BY patient.rowid"
        ).fetchall()
    texts = (["" if v is None else str(v).replace(",", "+") for v in row] for row in rows)
    return ["patient,stage,side,fold,slices,sources", *map(",".join, texts)]


def _sides(connection: sqlite3.Connection) -> list[str]:
    problems = [
        f"patient {patient} is on {count} sides"
        for patient, count in connection.execute(
            "SELECT patient, count(DISTINCT side) FROM slice_side"
            " WHERE (SELECT value FROM meta WHERE key = 'split_by') = 'patient'"
            " GROUP BY patient HAVING count(DISTINCT side) > 1"
        )
    ]
    wrong = connection.execute(
        "SELECT count(*) FROM sample JOIN slice_side USING (slice) WHERE sample.split IS NOT side"
    ).fetchone()[0]
    if wrong:
        problems.append(f"{wrong} samples are on another side than their slice")
    for task, split, count, last in connection.execute(
        "SELECT task, split, count(*), max(key) FROM sample GROUP BY task, split"
    ):
        if last != count - 1:
            problems.append(f"the keys of {task}_{split} are not 0..{count - 1}")
    return problems


def _labels(connection: sqlite3.Connection) -> list[str]:
    problems = []
    for row in connection.execute("SELECT path, sha256, stages_path, stages_sha256 FROM label_file"):
        for path, digest in (row[:2], row[2:]):
            if path is None:
                continue
            if not Path(path).is_file():
                problems.append(f"{path} is gone, labels come from it")
            elif hashlib.sha256(Path(path).read_bytes()).hexdigest() != digest:
                problems.append(f"{path} is not as it was when labels were taken from it")
    return list(dict.fromkeys(problems))


def _pixels(connection: sqlite3.Connection, number: int) -> list[str]:
    try:
        series, slice_numbers = database.load_series(connection, number)
    except DatabaseError as error:
        return [str(error)]
    expected = dict(connection.execute("SELECT slice, pixel_sha256 FROM slice WHERE series = ?", (number,)).fetchall())
    wanted = {id(image): expected[n] for n, image in zip(slice_numbers, series.slices, strict=True)}
    for image, pixels in zip(*read_pixels(series), strict=True):
        if database.pixel_hash(pixels) == wanted[id(image)]:
            del wanted[id(image)]
    return [f"{image.source} is not as it was" for image in series.slices if id(image) in wanted]
