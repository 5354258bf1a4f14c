"""Audit of a sample database: sides of patients, sources of labels, and whether all files are unchanged."""

import hashlib
from pathlib import Path

from nbcad.dicom import read_pixels
from nbcad.errors import DatabaseError, SplitError
from nbcad.runtime.progress import progress
from nbcad.samples import database_checks as checks
from nbcad.samples.database import SampleDatabase
from nbcad.samples.images import load_series, pixel_hash

_COUNTED = ("patient", "series", "slice", "annotation", "sample")  # tables


def audit(sample_database: Path) -> list[str]:
    """Check a database against itself and against its files: every pixel and every label file by its hash.

    Returns:
        A line for everything that is not as the database says.
    """
    with SampleDatabase.open(sample_database) as database:
        problems = checks.side_problems(database) + _changed_label_files(database)
        try:
            checks.refuse_leaks(database)
        except SplitError as error:
            problems.append(str(error))
        for number in progress(database.series_numbers(), desc="audit", unit="series"):
            problems += _changed_slices(database, number)
    return problems


def describe(sample_database: Path) -> list[str]:
    """Return a line each for the options, every run, the labels by source and side, and the patients by side."""
    with SampleDatabase.open(sample_database) as database:
        options = {name: value for name, value in database.meta().items() if name != "key_check"}
        lines = ["options: " + ", ".join(f"{name} {value}" for name, value in options.items())]
        for run in checks.runs(database):
            added = database.rows_of_run(run.run, _COUNTED)
            counts = ", ".join(f"{table} {count}" for table, count in added.items())
            lines.append(f"run {run.run}, {run.time}, nbcad {run.nbcad_version}: {counts}")
        lines += [
            f"labels from {labels.source}, {labels.side}: "
            f"files {labels.files}, slices {labels.slices}, boxes {labels.boxes}"
            for labels in checks.label_counts(database)
        ]
        return lines + checks.describe_sides(database)


def patients(sample_database: Path) -> list[str]:
    """Return the lines of a CSV of all patients: hash, stage, side, fold, slices, and the sources of the labels."""
    with SampleDatabase.open(sample_database) as database:
        rows = checks.patients(database)
    texts = (["" if value is None else str(value).replace(",", "+") for value in row] for row in rows)
    return ["patient,stage,side,fold,slices,sources", *map(",".join, texts)]


def _changed_label_files(database: SampleDatabase) -> list[str]:
    """Return a line for each label file, or table of stages, that is gone or has another hash."""
    problems = []
    for row in checks.label_files(database):
        for path, sha256 in ((row.path, row.sha256), (row.stages_path, row.stages_sha256)):
            if path is None:
                continue
            if not Path(path).is_file():
                problems.append(f"{path} is gone; labels were taken from it")
            elif hashlib.sha256(Path(path).read_bytes()).hexdigest() != sha256:
                problems.append(f"{path} has changed since labels were taken from it")
    return list(dict.fromkeys(problems))


def _changed_slices(database: SampleDatabase, number: int) -> list[str]:
    """Return a line for each slice of a series whose pixels are gone or have another hash."""
    try:
        series, _ = load_series(database, number)
    except DatabaseError as error:
        return [str(error)]
    expected = {
        id(image): row.pixel_sha256 for image, row in zip(series.slices, database.slices_of(number), strict=True)
    }
    for image, pixels in zip(*read_pixels(series), strict=True):
        if pixel_hash(pixels) == expected[id(image)]:
            del expected[id(image)]
    return [f"{image.source} has changed" for image in series.slices if id(image) in expected]
