"""Writing of the sample database: the rows that one run adds, and what that run must know of earlier ones."""

import sqlite3
from collections.abc import Hashable
from contextlib import closing
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import nbcad
from nbcad.annotation.annotations import SliceAnnotation
from nbcad.annotation.image_index import Key
from nbcad.dicom import Series, Slice, Source
from nbcad.errors import DatabaseError
from nbcad.nets.labels import NORMAL
from nbcad.samples.database import SCHEMA_VERSION, SampleDatabase
from nbcad.samples.rows import ExistingSlice, FileRow, LabelFileRow, PatientStages
from nbcad.samples.sampling import Sample

_SCHEMA = Path(__file__).with_name("schema.sql")
Unit = Literal["patient", "slice"]  # what is given a side of the split


class DatabaseWriter(SampleDatabase):
    """A sample database to which one run adds rows, all in one transaction.

    `finish` ends the transaction; closed before that, the database is as it was.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        connection.execute("PRAGMA foreign_keys = ON")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.run = _number(connection.execute("INSERT INTO run VALUES (NULL, ?, ?)", (now, nbcad.__version__)))
        self._changes_before = connection.total_changes

    @classmethod
    def create(cls, path: Path, meta: dict[str, str]) -> Self:
        """Create a database with nothing in it but its options, and begin its first run.

        Args:
            path: of the SQLite file, which is missing or empty.
            meta: texts for the table ``meta``, without the schema version.
        """
        connection = sqlite3.connect(path)
        connection.executescript(f"BEGIN; {_SCHEMA.read_text()} COMMIT;")
        meta = meta | {"schema_version": str(SCHEMA_VERSION)}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.commit()
        return cls(connection)

    @classmethod
    def extend(cls, path: Path) -> Self:
        """Begin a further run of a database that exists."""
        return cls(sqlite3.connect(path))

    def finish(self) -> None:
        """Commit the run; if it added and changed nothing, leave the very bytes of the file instead."""
        if self.connection.total_changes == self._changes_before:
            self.connection.rollback()
        else:
            self.connection.commit()

    # Questions about earlier runs.

    def has_slices(self) -> bool:
        """Return whether the database holds any slice."""
        return self.connection.execute("SELECT 1 FROM slice").fetchone() is not None

    def files(self) -> dict[str, FileRow]:
        """Return all input files by path."""
        rows = self.connection.execute("SELECT path, status, reason, bytes, mtime_ns FROM file")
        return {path: FileRow(*row) for path, *row in rows}

    def label_file_paths(self) -> set[str]:
        """Return the paths of the label files from which an annotation was taken."""
        return {path for (path,) in self.connection.execute("SELECT path FROM label_file")}

    def slice_keys(self) -> list[list[Key]]:
        """Return the UID and frame of every slice, in a list for each series."""
        by_series: dict[int, list[Key]] = {}
        rows = self.connection.execute("SELECT series, sop_uid, frame FROM slice ORDER BY series, slice")
        for series, sop_uid, frame in rows:
            by_series.setdefault(series, []).append((sop_uid, frame))
        return list(by_series.values())

    def existing_slices(self) -> dict[Key, ExistingSlice]:
        """Return every slice with its annotations, by UID and frame."""
        slices: dict[Key, ExistingSlice] = {}
        by_number: dict[int, ExistingSlice] = {}
        annotations: dict[int, SliceAnnotation] = {}
        for sop_uid, frame, number, series, patient, path, member, digest in self.connection.execute(
            "SELECT sop_uid, frame, slice, series, patient, path, member, pixel_sha256"
            " FROM slice JOIN series USING (series) JOIN study USING (study)"
        ):
            place = str(Source(Path(path), member))
            slices[sop_uid, frame] = by_number[number] = ExistingSlice(number, series, patient, place, digest)
        for annotation, number, path, organ, lesions_known in self.connection.execute(
            "SELECT annotation, slice, path, organ, lesions_known FROM annotation JOIN label_file USING (label_file)"
        ):
            annotations[annotation] = SliceAnnotation(organ, bool(lesions_known))
            by_number[number].annotations[path] = annotations[annotation]
        for annotation, stage, *box in self.connection.execute("SELECT * FROM box ORDER BY rowid"):
            annotations[annotation].lesions.append((stage, tuple(box)))
        return slices

    def stages_of_lesions(self) -> list[PatientStages]:
        """Return the stages of the lesions of every patient that has any, beside the stage recorded."""
        rows = self.connection.execute(
            "SELECT patient, min(lesion_box.stage), max(lesion_box.stage), patient.stage, min(path)"
            " FROM lesion_box JOIN slice USING (slice) JOIN series USING (series) JOIN study USING (study)"
            " JOIN patient USING (patient) GROUP BY patient"
        )
        return [PatientStages(*row) for row in rows]

    def example_of_each_kind(self) -> list[str]:
        """Return the path of one image of a patient and of one image of a phantom, as far as there are any."""
        rows = self.connection.execute(
            "SELECT path FROM slice JOIN series USING (series) GROUP BY phantom ORDER BY phantom"
        )
        return [path for (path,) in rows]

    def strata(self, unit: Unit) -> dict[Hashable, str]:
        """Return the stage of every patient or slice, in the order in which they came into the database."""
        if unit == "patient":
            return dict(self.stages_by_patient().items())
        rows = self.connection.execute(
            "SELECT slice, coalesce(min(stage), ?) FROM slice LEFT JOIN lesion_box USING (slice)"
            " GROUP BY slice ORDER BY slice",
            (NORMAL,),
        )
        return dict(rows.fetchall())

    def sides(self, unit: Unit) -> dict[Hashable, tuple[str, int | None]]:
        """Return side and fold of every patient or slice that has a side of its own."""
        rows = self.connection.execute(f"SELECT {unit}, side, fold FROM split")
        return {number: (side, fold) for number, side, fold in rows}

    def sides_by_slice(self) -> dict[int, str]:
        """Return the side of every slice, its own or its patient's."""
        return dict(self.connection.execute("SELECT slice, side FROM slice_side").fetchall())

    def training_counts(self) -> dict[tuple[str, int], int]:
        """Return the number of training samples by task and label."""
        rows = self.connection.execute(
            "SELECT task, label, count(*) FROM sample WHERE split = 'train' GROUP BY task, label"
        )
        return {(task, label): count for task, label, count in rows}

    # Rows of this run.

    def insert_series(self, patient: str, series: Series) -> int:
        """Insert a series, with its patient and study where they are new; return its number."""
        self.connection.execute("INSERT OR IGNORE INTO patient VALUES (?, ?, ?)", (patient, NORMAL, self.run))
        study = self.connection.execute(
            "SELECT study FROM study WHERE patient = ? AND study_uid = ?", (patient, series.study_uid)
        ).fetchone()
        return self._insert(
            "series",
            study=study[0]
            if study
            else self._insert(
                "study",
                patient=patient,
                study_uid=series.study_uid,
                age_months=series.age.months if series.age else None,
            ),
            series_uid=series.series_uid,
            weighting=series.weighting,
            phantom=series.phantom,
        )

    def insert_slice(self, series: int, image: Slice, pixel_sha256: str) -> int:
        """Insert a slice of a series; return its number.

        Raises:
            DatabaseError: another series holds a slice of the same SOP Instance UID and frame.
        """
        try:
            return self._insert(
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

    def insert_annotation(self, slice_number: int, label_file: LabelFileRow, annotation: SliceAnnotation) -> None:
        """Insert the annotation that a label file gives a slice, with its boxes."""
        number = self._insert(
            "annotation",
            slice=slice_number,
            label_file=self._label_file(label_file),
            organ=annotation.organ,
            lesions_known=annotation.lesions_known,
        )
        for stage, box in annotation.lesions:
            self.connection.execute("INSERT INTO box VALUES (?, ?, ?, ?, ?, ?)", (number, stage, *box))

    def insert_side(self, unit: Unit, number: Hashable, side: str, fold: int | None) -> None:
        """Record the side of the split, and the fold, of a patient or a slice."""
        self._insert("split", **{unit: number, "side": side, "fold": fold})

    def insert_sample(self, sample: Sample, side: str, key: int, mirrored: bool) -> None:
        """Insert a sample under its key in the LMDB of its task and side."""
        turn_deg, zoom, down, right = astuple(sample.jitter) if sample.jitter else (None,) * 4
        self._insert(
            "sample",
            task=sample.task,
            split=side,
            key=key,
            slice=sample.slice,
            label=sample.label,
            mm_per_pixel=sample.mm_per_pixel,
            row=sample.row,
            col=sample.col,
            mirrored=mirrored,
            turn_deg=turn_deg,
            zoom=zoom,
            down=down,
            right=right,
        )

    def set_stage(self, patient: str, stage: str) -> None:
        """Change the stage of a patient."""
        self.connection.execute("UPDATE patient SET stage = ? WHERE patient = ?", (stage, patient))

    def insert_file(self, path: str, file: FileRow) -> None:
        """Record the outcome of an input file."""
        self._insert("file", path=path, status=file.status, reason=file.reason, bytes=file.size, mtime_ns=file.mtime_ns)

    def update_file(self, path: str, file: FileRow) -> None:
        """Record another outcome of an input file that an earlier run recorded."""
        self.connection.execute(
            "UPDATE file SET status = ?, reason = ?, bytes = ?, mtime_ns = ?, run = ? WHERE path = ?",
            (*file, self.run, path),
        )

    def _label_file(self, row: LabelFileRow) -> int:
        """Return the number of a label file as it is now, which is inserted if it is new."""
        values = row._asdict()
        known = self.connection.execute(
            f"SELECT label_file FROM label_file WHERE {' AND '.join(f'{name} IS ?' for name in values)}", row
        ).fetchone()
        return known[0] if known else self._insert("label_file", **values)

    def _insert(self, table: str, **values: object) -> int:
        """Insert a row of this run; return its number."""
        values["run"] = self.run
        marks = ", ".join("?" * len(values))
        statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"
        return _number(self.connection.execute(statement, tuple(values.values())))


def write_repeated(source: Path, target: Path, least_slices: int) -> int:
    """Write a database that names the images of another one repeatedly, for measurements on many slices.

    It holds the options, the slices and the samples: all that a conversion to LMDB asks for.

    Args:
        source: a sample database.
        target: the new file.
        least_slices: number of slices that it shall have at least.

    Returns:
        Number of its slices.
    """
    with closing(sqlite3.connect(target)) as connection:
        connection.execute("ATTACH ? AS one", (str(source),))
        (count, last, last_series) = connection.execute(
            "SELECT count(*), max(slice), max(series) FROM one.slice"
        ).fetchone()
        copies = -(-least_slices // count)
        connection.execute("CREATE TABLE copy AS SELECT value AS n FROM json_each(?)", (str([*range(copies)]),))
        connection.execute("CREATE TABLE meta AS SELECT * FROM one.meta")
        # Tables of the same columns without their constraints: a SOP Instance UID stands in them many times.
        for table, new in {
            "slice": f"slice = slice + n * {last}, series = series + n * {last_series}",
            "sample": f"slice = slice + n * {last}, key = key + n * (SELECT count(*) FROM one.sample AS other"
            " WHERE (other.task, other.split) = (again.task, again.split))",
        }.items():
            connection.execute(f"CREATE TABLE {table} AS SELECT again.*, n FROM one.{table} AS again, copy")
            connection.execute(f"UPDATE {table} AS again SET {new}")
            connection.execute(f"ALTER TABLE {table} DROP COLUMN n")
        connection.execute("CREATE INDEX slice_series ON slice (series)")
        connection.execute("CREATE UNIQUE INDEX slice_slice ON slice (slice)")
        connection.execute("CREATE INDEX sample_slice ON sample (slice)")
        connection.execute("CREATE UNIQUE INDEX sample_key ON sample (task, split, key)")
        connection.commit()
    return count * copies


def _number(cursor: sqlite3.Cursor) -> int:
    """Return the number of the row that was inserted last."""
    assert cursor.lastrowid is not None
    return cursor.lastrowid
