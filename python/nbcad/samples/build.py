"""Building of a sample database, and growing of one that exists.

`annotation.files` reads the labels and `annotation.merge` combines them. `ingest` decodes the images and plans their
samples with `sampling`; `assign` gives stages, sides and keys.

A database grows: another build adds the patients, series and annotations that are new, and changes nothing else. New
images are found by their UIDs, so every header is read each time. Pixels are decoded only of images that are new, or
whose file has changed in size or time. (Hashing every file instead would read it all, which costs as much as decoding.)
"""

import fcntl
import hashlib
import hmac
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nbcad.annotation.annotations import PatientLabel, read_patients
from nbcad.annotation.files import LabelFile, read_label_files
from nbcad.annotation.merge import agree
from nbcad.dicom import read_archive
from nbcad.errors import DatabaseError
from nbcad.runtime import verbosity
from nbcad.runtime.files import replacing_file, secret_key
from nbcad.runtime.parallel import Map
from nbcad.samples.assign import assign_sides, insert_samples, refuse_phantom_among_patients, set_stages
from nbcad.samples.build_run import Build, Options
from nbcad.samples.database import SampleDatabase
from nbcad.samples.database_checks import describe_sides, refuse_leaks
from nbcad.samples.database_writer import DatabaseWriter
from nbcad.samples.ingest import take_images
from nbcad.samples.input_files import record_files, report_vanished

_COUNTED = ("patient", "study", "series", "slice", "annotation", "sample")  # tables


@dataclass
class Built:
    """The results of a build."""

    counts: dict[str, dict[str, dict[str, int]]]  # samples by task, side and label
    sides: list[str]  # see `database_checks.describe_sides`
    added: dict[str, int]  # rows by table
    problems: list[str]  # what was not taken, or has changed; one line each
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
    """Build the sample database of a DICOM folder and its labels, or add to the one that exists.

    Args:
        dicom: folder, zip or file with the images.
        labels: label files, or folders of them; see `annotation.files`.
        database: the SQLite file, replaced as a whole; its key lies beside it as ``.key``.
        options: None: the defaults.
        stages: table of patients that gives the lesions of SEGs, structure sets and masks their stage.
        force: replace a database that exists. Without it that database grows, and stays the same byte for byte if there
            is nothing to add.
        map_: where headers are read and pixels are decoded.

    Raises:
        InputError: the labels or the images cannot be read.
        DatabaseError: no annotated slice was found, a patient has two stages, or the database that exists was built
            with other options or another key.
        SplitError: one image belongs to two patients, or to two sides of the split.
        WorkerError: see `parallel.Map`.
    """
    options = options or Options()
    archive = read_archive(dicom, map_)
    patients: dict[str, PatientLabel] = read_patients(stages) if stages else {}
    label_files = read_label_files(labels, archive.series, patients, options.lesions)
    key = _key(database, force)
    with (
        _lock(database),
        replacing_file(database) as temporary,
        _open(temporary, None if force else database, options, key) as writer,
    ):
        run = Build(writer, key, options, archive, stages, map_)
        _add(run, label_files)
        built = _results(run)
        writer.finish()
    return built


def print_built(built: Built) -> None:
    """Print the counts of a build on stdout, and on stderr what was not taken."""
    verbosity.note("added: " + ", ".join(f"{table} {count}" for table, count in built.added.items()))
    verbosity.note("\n".join(built.sides))
    for task, splits in built.counts.items():
        for split, classes in splits.items():
            verbosity.note(f"{task}_{split}: " + ", ".join(f"{name} {count}" for name, count in classes.items()))
    for problem in built.problems:
        print(f"not taken: {problem}", file=sys.stderr)
    if built.idle_labels:
        verbosity.note(f"{built.idle_labels} label files are of images that are not taken; the table file names them")
    if built.refused:
        print(f"{built.refused} image files were refused; the table file says why", file=sys.stderr)


def _add(build: Build, label_files: list[LabelFile]) -> None:
    """Add everything that is new, in the order in which the steps depend on each other."""
    existing = build.database.existing_slices()
    annotated = {key: known.annotations for key, known in existing.items() if known.annotations}
    labels, build.problems = agree(label_files, annotated)
    report_vanished(build)
    take_images(build, labels, existing)
    record_files(build, label_files)
    set_stages(build)
    refuse_phantom_among_patients(build)
    assign_sides(build)
    refuse_leaks(build.database)
    insert_samples(build)


def _results(build: Build) -> Built:
    """Count what the build added and what the database holds now."""
    return Built(
        counts=build.database.class_counts(),
        sides=describe_sides(build.database),
        added=build.database.rows_of_run(build.database.run, _COUNTED),
        problems=build.problems,
        refused=build.refused,
        idle_labels=build.idle_labels,
    )


def _open(temporary: Path, existing: Path | None, options: Options, key: bytes) -> DatabaseWriter:
    """Begin a run of a copy of the database that exists, or of a new one.

    Raises:
        DatabaseError: the database that exists was built with other options or another key.
    """
    meta = options.as_meta() | {"key_check": hmac.new(key, b"nbcad", hashlib.sha256).hexdigest()}
    if existing is None or not existing.exists():
        return DatabaseWriter.create(temporary, meta)
    with SampleDatabase.open(existing) as database:
        before = database.meta()
    for name, value in meta.items():
        if before.get(name) == value:
            continue
        if name == "key_check":
            raise DatabaseError(f"{existing.with_suffix('.key')} is not the key of {existing}; put it back")
        raise DatabaseError(
            f"{existing} was built with {name} {before.get(name)}, not {value}; give that, or --force to rebuild it"
        )
    shutil.copy2(existing, temporary)
    return DatabaseWriter.extend(temporary)


@contextmanager
def _lock(database: Path) -> Iterator[None]:
    """Hold the lock of the key, since of two builds at once the later would undo what the earlier added.

    Raises:
        DatabaseError: another build of the database is running.
    """
    with database.with_suffix(".key").open("rb") as key:
        try:
            fcntl.flock(key, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DatabaseError(f"another build of {database} is running; wait for it") from error
        yield


def _key(database: Path, force: bool) -> bytes:
    """Read the secret under which patients are hashed; create it for a new database.

    Raises:
        DatabaseError: a database exists, but its key does not.
        InputError: the file does not hold a key.
    """
    path = database.with_suffix(".key")
    if database.exists() and not path.exists() and not force:
        raise DatabaseError(f"{path} is gone: no patient of {database} can be recognised; put it back")
    return secret_key(path)
