"""Building of the sample database, or adding to the one that stands there.

`annotation.files` reads the labels, `annotation.merge` puts them together, `splitting` gives the sides and `sampling`
plans the samples. A database grows: building again adds patients, series and annotations that are new, and changes
nothing that stands there. What is new is found by UIDs, so every header is read each time; pixels are decoded only of
what is new or whose file has another size or time than before. (Hashing each file would read it all, which costs as
much as decoding it.)
"""

import fcntl
import hashlib
import hmac
import shutil
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nbcad.annotation.annotations import PatientLabel, read_patients
from nbcad.annotation.files import LabelFile, read_label_files
from nbcad.annotation.merge import agree
from nbcad.dicom import read_archive
from nbcad.errors import DatabaseError
from nbcad.runtime.files import replacing_file, secret_key
from nbcad.runtime.parallel import Map
from nbcad.samples import splitting
from nbcad.samples.assign import assign_sides, insert_samples, refuse_phantom_among_patients, set_stages
from nbcad.samples.build_run import Build, Options, insert_run
from nbcad.samples.database import SCHEMA_VERSION, class_counts, connect
from nbcad.samples.existing import read_existing, report_vanished
from nbcad.samples.ingest import take_images
from nbcad.samples.rows import insert_files


@dataclass
class Built:
    """What a build did."""

    counts: dict[str, dict[str, dict[str, int]]]  # samples by task, split and label
    sides: list[str]  # see `splitting.describe`
    added: dict[str, int]  # rows by table
    problems: list[str]  # what was not taken, or is not as it was; one line each
    refused: int  # image files
    idle_labels: int  # label files of images that are not taken


def build(
    dicom: Path,
    labels: Iterable[Path],
    database: Path,
    options: Options | None = None,
    stages: Path | None = None,
    force: bool = False,
    map_: Map = map,
) -> Built:
    """Build the sample database of a DICOM folder and its labels, or add to the one that stands there.

    Args:
        dicom: folder, zip or file with the images.
        labels: label files, or folders of them; see `annotation.files`.
        database: the SQLite file, replaced as a whole; its key lies beside it as ``.key``.
        options: None: the defaults.
        stages: table of patients that gives the lesions of SEGs, structure sets and masks their stage.
        force: build anew; else what stands there stays as it is, and if there is nothing to add, so does the file.
        map_: where headers are read and pixels are decoded.

    Raises:
        InputError: the labels or the images cannot be read.
        DatabaseError: no annotated slice was found, a patient has two stages, or the database that stands there was
            built with other options or another key.
        SplitError: one image stands under two patients, or on two sides of the split.
        WorkerError: see `parallel.Map`.
    """
    options = options or Options()
    archive = read_archive(dicom, map_)
    patients: dict[str, PatientLabel] = read_patients(stages) if stages else {}
    files = read_label_files(labels, archive.series, patients, options.lesions)
    key = _key(database, force)
    with (
        _alone(database),
        replacing_file(database) as temporary,
        closing(_open(temporary, None if force else database, options, key)) as connection,
    ):
        under_way = Build(connection, insert_run(connection), key, options, archive, stages, map_)
        before = connection.total_changes
        _add(under_way, files)
        built = _result(under_way)
        if connection.total_changes == before:
            connection.rollback()  # the file then keeps its very bytes
        else:
            connection.commit()
    return built


def print_built(built: Built) -> None:
    """What a build did: counts on stdout, what was not taken on stderr."""
    print("added: " + ", ".join(f"{table} {count}" for table, count in built.added.items()))
    print("\n".join(built.sides))
    for task, splits in built.counts.items():
        for split, classes in splits.items():
            print(f"{task}_{split}: " + ", ".join(f"{name} {count}" for name, count in classes.items()))
    for problem in built.problems:
        print(f"not taken: {problem}", file=sys.stderr)
    if built.idle_labels:
        print(f"{built.idle_labels} label files are of images that are not taken; the table file names them")
    if built.refused:
        print(f"{built.refused} image files were refused; the table file says why", file=sys.stderr)


def _open(temporary: Path, standing: Path | None, options: Options, key: bytes) -> sqlite3.Connection:
    """A copy of the database that stands there, or a new one."""
    meta = options.as_meta() | {"key_check": hmac.new(key, b"nbcad", hashlib.sha256).hexdigest()}
    if standing is None or not standing.exists():
        connection = sqlite3.connect(temporary)
        connection.executescript(f"BEGIN; {Path(__file__).with_name('schema.sql').read_text()} COMMIT;")
        meta["schema_version"] = str(SCHEMA_VERSION)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.commit()
    else:
        with closing(connect(standing)) as old:
            before = dict(old.execute("SELECT key, value FROM meta").fetchall())
        for name, value in meta.items():
            if before.get(name) == value:
                continue
            if name == "key_check":
                raise DatabaseError(f"{standing.with_suffix('.key')} is not the key of {standing}; put it back")
            raise DatabaseError(
                f"{standing} was built with {name} {before.get(name)}, not {value}; give that, or --force to build anew"
            )
        shutil.copy2(standing, temporary)
        connection = sqlite3.connect(temporary)
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def _add(build: Build, files: list[LabelFile]) -> None:
    """Add what is new, in one transaction."""
    held = read_existing(build.connection)
    labels, build.problems = agree(files, {key: s.annotations for key, s in held.items() if s.annotations})
    report_vanished(build)
    take_images(build, labels, held)
    insert_files(build, files)
    set_stages(build)
    refuse_phantom_among_patients(build)
    assign_sides(build)
    splitting.refuse_leaks(build.connection)
    insert_samples(build)


def _result(build: Build) -> Built:
    tables = ("patient", "study", "series", "slice", "annotation", "sample")
    added = {
        table: build.connection.execute(f"SELECT count(*) FROM {table} WHERE run = ?", (build.run,)).fetchone()[0]
        for table in tables
    }
    sides = splitting.describe(build.connection)
    return Built(class_counts(build.connection), sides, added, build.problems, build.refused, build.idle_labels)


@contextmanager
def _alone(database: Path) -> Iterator[None]:
    """Hold the key's lock: of two builds at once the later would undo what the earlier added.

    Raises:
        DatabaseError: another build of the database is under way.
    """
    with database.with_suffix(".key").open("rb") as key:
        try:
            fcntl.flock(key, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DatabaseError(f"another build of {database} is under way; wait for it") from error
        yield


def _key(database: Path, force: bool) -> bytes:
    """The secret under which patients are hashed.

    Raises:
        DatabaseError: a database stands there, but its key does not.
        InputError: the key is none.
    """
    path = database.with_suffix(".key")
    if database.exists() and not path.exists() and not force:
        raise DatabaseError(f"{path} is gone: no patient of {database} can be recognised; put it back")
    return secret_key(path)
