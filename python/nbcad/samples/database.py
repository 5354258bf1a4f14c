"""The sample database (paper 3.1(1)): which slice of which patient is which sample, on which side of the split.

One SQLite file (`schema.sql`). Patients are stored under a keyed hash; the key lies beside the database and nowhere
else. `build.build` makes the database, `conversion.convert` makes the images of its samples. SQL stands here, in
`database_writer` and in `database_checks`, and in no other module.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from nbcad.dicom import Source
from nbcad.errors import DatabaseError
from nbcad.imaging.boxes import Box
from nbcad.imaging.preprocess import Jitter
from nbcad.nets.labels import organ_labels, stage_labels
from nbcad.samples.rows import KeyRange, SampleRow, SeriesRow, SliceFacts, SliceRow, TrainingSide
from nbcad.samples.splitting import SIDES

SCHEMA_VERSION = 2


class SampleDatabase:
    """A sample database that is open for reading; leaving its ``with`` block closes it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection  # for the modules of this folder that hold SQL

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a sample database for reading.

        Raises:
            DatabaseError: the file is missing, is not an SQLite file, or has another schema version.
        """
        path = Path(path)
        if not path.is_file():
            raise DatabaseError(f"sample database {path} does not exist; run `make data`")
        database = cls(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True))
        try:
            version = database.meta().get("schema_version")
        except sqlite3.DatabaseError as error:
            database.close()
            raise DatabaseError(f"{path} is not a sample database: {error}") from error
        if version != str(SCHEMA_VERSION):
            database.close()
            raise DatabaseError(f"{path} has another schema version than {SCHEMA_VERSION}; rebuild it with --force")
        return database

    def close(self) -> None:
        """Close the database; changes that were not committed are lost."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def meta(self) -> dict[str, str]:
        """Return the schema version, the options of the build and the check value of its key, by name."""
        return dict(self.connection.execute("SELECT key, value FROM meta").fetchall())

    def is_synthetic(self) -> bool:
        """Return whether any image is a phantom's, so that no figure may be taken for a patient's."""
        return self.connection.execute("SELECT max(phantom) FROM series").fetchone()[0] == 1

    def trained_on(self) -> TrainingSide:
        """Return what is known of the patients on the training side."""
        # A database split by image has slices of the same patient on several sides.
        side = "FROM slice_side JOIN series USING (series) JOIN study USING (study) WHERE side = 'train'"
        synthetic, patients, youngest, oldest = self.connection.execute(
            f"SELECT min(phantom), count(DISTINCT slice_side.patient), min(age_months), max(age_months) {side}"
        ).fetchone()
        weightings = self.connection.execute(f"SELECT DISTINCT weighting {side} AND weighting <> '' ORDER BY 1")
        return TrainingSide(synthetic == 1, patients, youngest, oldest, tuple(name for (name,) in weightings))

    def series_numbers(self) -> list[int]:
        """Return the numbers of all series, in ascending order."""
        return [number for (number,) in self.connection.execute("SELECT series FROM series ORDER BY series")]

    def slice_counts(self) -> dict[int, int]:
        """Return the number of slices by series, in ascending order of the series' numbers."""
        return dict(self.connection.execute("SELECT series, count(*) FROM slice GROUP BY 1 ORDER BY 1").fetchall())

    def slices_of(self, series: int) -> list[SliceRow]:
        """Return the slices of a series, in order."""
        rows = self.connection.execute(
            "SELECT slice, sop_uid, frame, path, member, pixel_sha256 FROM slice WHERE series = ? ORDER BY slice",
            (series,),
        )
        return [
            SliceRow(number, sop_uid, frame, Source(Path(path), member), pixel_sha256)
            for number, sop_uid, frame, path, member, pixel_sha256 in rows
        ]

    def facts_of(self, series: int) -> list[SliceFacts]:
        """Return the labels, patient and side of each slice of a series, in order."""
        rows = self.connection.execute(
            "SELECT slice, organ, lesions_known, patient, side FROM slice_label JOIN slice_side USING (slice)"
            " WHERE slice_label.series = ? ORDER BY slice",
            (series,),
        )
        return [SliceFacts(number, organ, bool(known), patient, side) for number, organ, known, patient, side in rows]

    def boxes_on(self, slice_number: int) -> list[Box]:
        """Return the boxes of all lesions on a slice."""
        rows = self.connection.execute("SELECT row0, col0, row1, col1 FROM lesion_box WHERE slice = ?", (slice_number,))
        return [tuple(row) for row in rows]

    def series_on(self, side: str) -> list[SeriesRow]:
        """Return the series of the patients on a side of the split, those of one patient together.

        The list is empty if the database is split by image: no patient as a whole is on a side then.
        """
        rows = self.connection.execute(
            "SELECT series, patient, stage FROM series JOIN study USING (study) JOIN patient USING (patient)"
            " JOIN split USING (patient) WHERE side = ? ORDER BY min(series) OVER (PARTITION BY patient), series",
            (side,),
        )
        return [SeriesRow(*row) for row in rows]

    def stages_by_patient(self) -> dict[str, str]:
        """Return the stage of every patient, in the order in which they came into the database."""
        return dict(self.connection.execute("SELECT patient, stage FROM patient ORDER BY rowid").fetchall())

    def samples_of(self, series: int) -> list[SampleRow]:
        """Return the samples of a series, in the order of their slices."""
        rows = self.connection.execute(
            "SELECT task, split, key, slice, row, col, mirrored, turn_deg, zoom, down, right"
            " FROM sample JOIN slice USING (slice) WHERE series = ? ORDER BY slice",
            (series,),
        )
        return [
            SampleRow(task, split, key, slice_number, row, col, bool(mirrored), _jitter(*jitter))
            for task, split, key, slice_number, row, col, mirrored, *jitter in rows
        ]

    def key_ranges(self) -> list[KeyRange]:
        """Return the number of entries and the highest key of each LMDB, in the order of task and side."""
        rows = self.connection.execute(
            "SELECT task, split, count(*), max(key) FROM sample GROUP BY task, split ORDER BY task, split"
        )
        return [KeyRange(*row) for row in rows]

    def labels_in(self, task: str, split: str) -> Iterator[int]:
        """Yield the labels of an LMDB's entries, in key order."""
        rows = self.connection.execute(
            "SELECT label FROM sample WHERE task = ? AND split = ? ORDER BY key", (task, split)
        )
        return (label for (label,) in rows)

    def patients_in(self, task: str, split: str) -> list[str]:
        """Return the patients of an LMDB's entries, in key order."""
        rows = self.connection.execute(
            "SELECT patient FROM sample JOIN slice_side USING (slice) WHERE task = ? AND split = ? ORDER BY key",
            (task, split),
        )
        return [patient for (patient,) in rows]

    def class_counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return the number of samples by task, side and label name."""
        names = {"organ": organ_labels(), "stage": stage_labels()}
        counts = {task: {side: dict.fromkeys(names[task], 0) for side in SIDES} for task in names}
        for task, side, label, count in self.connection.execute(
            "SELECT task, split, label, count(*) FROM sample GROUP BY task, split, label"
        ):
            counts[task][side][names[task][label]] = count
        return counts

    def samples_sha256(self) -> str:
        """Return the SHA-256 over all samples and the hashes of the pixels that they are cut from.

        LMDBs made from two databases with the same value are the same.
        """
        digest = hashlib.sha256()
        for row in self.connection.execute(
            "SELECT sample.*, sop_uid, frame, pixel_sha256 FROM sample JOIN slice USING (slice)"
            " ORDER BY task, split, key"
        ):
            digest.update(repr(tuple(row)).encode())
        return digest.hexdigest()

    def pixels_sha256(self, side: str) -> str:
        """Return the SHA-256 over the hashes of the pixels of all slices on a side of the split."""
        digest = hashlib.sha256()
        for (pixel_sha256,) in self.connection.execute(
            "SELECT pixel_sha256 FROM slice JOIN slice_side USING (slice) WHERE side = ? ORDER BY pixel_sha256", (side,)
        ):
            digest.update(pixel_sha256.encode())
        return digest.hexdigest()

    def rows_of_run(self, run: int, tables: tuple[str, ...]) -> dict[str, int]:
        """Return the number of rows that a run added, by table."""
        return {
            table: self.connection.execute(f"SELECT count(*) FROM {table} WHERE run = ?", (run,)).fetchone()[0]
            for table in tables
        }


def _jitter(turn_deg: float | None, zoom: float, down: float, right: float) -> Jitter | None:
    """Return the jitter of a sample, or None where its columns are NULL."""
    return None if turn_deg is None else Jitter(turn_deg, zoom, down, right)
