"""The sample database (paper 3.1(1)): which slice of which patient is which sample, on which side of the split.

One SQLite file (schema.sql). Patients stand under a keyed hash; the key lies beside the database and nowhere else.
`sampling` plans the samples, `lmdb_io.convert` makes their images.
"""

import hashlib
import hmac
import os
import secrets
import sqlite3
from contextlib import closing
from dataclasses import astuple
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import nbcad
from nbcad import cli
from nbcad.annotations import SliceAnnotation, read_annotations
from nbcad.errors import DatabaseError, SplitError
from nbcad.labels import NORMAL, organ_labels, stage_labels
from nbcad.sampling import Sample, plan_samples, windows_per_box
from nbcad.series import (
    IGNORED,
    Archive,
    FileRecord,
    Series,
    Slice,
    Source,
    read_archive,
    read_pixels,
    read_sources,
    reason_not_chosen,
)

SCHEMA_VERSION = 1
SPLITS = {"train": 0.70, "val": 0.15, "test": 0.15}


def build(dicom: Path, annotations: Path, database: Path, seed: int) -> dict[str, dict[str, dict[str, int]]]:
    """Build the sample database of a DICOM folder and its annotations.

    Args:
        dicom: folder, zip or file with the images.
        annotations: CSV as in `annotations`.
        database: the SQLite file, replaced as a whole; its key lies beside it as ``.key``.
        seed: of the split, of the windows' places and of the order of the samples.

    Returns:
        Number of samples by task, split and label.

    Raises:
        InputError: the annotations or the images cannot be read.
        DatabaseError: no annotated slice was found, or a patient has two stages.
        SplitError: an identical image stands on two sides of the split.
    """
    annotated = read_annotations(annotations)
    archive = read_archive(dicom)
    with cli.replacing_file(database) as temporary, closing(sqlite3.connect(temporary)) as connection:
        connection.executescript(Path(__file__).with_name("schema.sql").read_text())
        _insert_meta(connection, seed)
        samples = _insert_images(connection, archive, annotated, _key(database), seed)
        _insert_files(connection, archive.files)
        splits = _insert_patients(connection, seed)
        _refuse_image_on_two_sides(connection)
        _insert_samples(connection, samples, splits, seed)
        counts = class_counts(connection)
        connection.commit()
    return counts


def connect(database: str | Path) -> sqlite3.Connection:
    """Open a sample database for reading.

    Raises:
        DatabaseError: it is missing, no SQLite file, or of another schema version.
    """
    database = Path(database)
    if not database.is_file():
        raise DatabaseError(f"sample database {database} does not exist; run `make data`")
    connection = sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    try:
        version = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()
    except sqlite3.DatabaseError as error:
        raise DatabaseError(f"{database} is no sample database: {error}") from error
    if version is None or int(version[0]) != SCHEMA_VERSION:
        raise DatabaseError(f"{database} has another schema version than {SCHEMA_VERSION}; build it anew")
    return connection


def class_counts(connection: sqlite3.Connection) -> dict[str, dict[str, dict[str, int]]]:
    """Number of samples by task, split and label name."""
    names = {"organ": organ_labels(), "stage": stage_labels()}
    counts = {task: {split: dict.fromkeys(names[task], 0) for split in SPLITS} for task in names}
    for task, split, label, count in connection.execute(
        "SELECT task, split, label, count(*) FROM sample GROUP BY task, split, label"
    ):
        counts[task][split][names[task][label]] = count
    return counts


def is_synthetic(connection: sqlite3.Connection) -> bool:
    """Whether any image of the database is a phantom's, so that no figure may be taken for a patient's."""
    return connection.execute("SELECT max(phantom) FROM series").fetchone()[0] == 1


def load_series(connection: sqlite3.Connection, series: int) -> tuple[Series, list[int]]:
    """Read one series of the database again from its files.

    Returns:
        The series, and the database's number of each of its slices, in order.

    Raises:
        DatabaseError: a file is gone or changed.
    """
    rows = connection.execute(
        "SELECT slice, sop_uid, path, member FROM slice WHERE series = ? ORDER BY slice", (series,)
    ).fetchall()
    archive = read_sources([Source(Path(path), member) for _, _, path, member in rows])
    expected = [sop_uid for _, sop_uid, _, _ in rows]
    if len(archive.series) != 1 or [s.sop_uid for s in archive.series[0].slices] != expected:
        raise DatabaseError(f"the files of series {series} in the database are gone or changed; build it anew")
    return archive.series[0], [row[0] for row in rows]


def _insert_meta(connection: sqlite3.Connection, seed: int) -> None:
    meta = {
        "schema_version": SCHEMA_VERSION,
        "nbcad_version": nbcad.__version__,
        "seed": seed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    connection.executemany("INSERT INTO meta VALUES (?, ?)", [(k, str(v)) for k, v in meta.items()])


def _insert_files(connection: sqlite3.Connection, files: list[FileRecord]) -> None:
    connection.executemany("INSERT INTO file VALUES (?, ?, ?)", [(f.path, f.status, f.reason) for f in files])


def _insert_images(
    connection: sqlite3.Connection,
    archive: Archive,
    annotated: dict[tuple[str, int], SliceAnnotation],
    key: bytes,
    seed: int,
) -> list[Sample]:
    """Insert series, slices and boxes of every annotated series that the nets are for; plan their samples."""
    samples: list[Sample] = []
    chosen = []
    for series in archive.series:
        reason = reason_not_chosen(series)
        if not reason and not any((s.sop_uid, s.frame) in annotated for s in series.slices):
            reason = "no slice of the series is annotated"
        if reason:
            for image in series.slices:
                image.record.status, image.record.reason = IGNORED, reason
        else:
            chosen.append(series)
    if not chosen:
        raise DatabaseError("no annotated, axial, T2-weighted series was found; see the annotation CSV's sop_uid")
    windows = windows_per_box(annotated.values())
    for series in cli.progress(chosen, desc="database", unit="series"):
        patient = hmac.new(key, series.patient_id.encode(), hashlib.sha256).hexdigest()
        number = connection.execute(
            "INSERT INTO series VALUES (NULL, ?, ?, ?, ?, ?, ?)",
            (patient, series.study_uid, series.series_uid, series.weighting, series.age_months, series.phantom),
        ).lastrowid
        for image, pixels in zip(*read_pixels(series), strict=True):
            annotation = annotated.get((image.sop_uid, image.frame), SliceAnnotation())
            slice_number = _insert_slice(connection, number, image, pixels, annotation)
            samples += plan_samples(patient, slice_number, image, pixels, annotation, windows, seed)
    return samples


def _insert_slice(
    connection: sqlite3.Connection, series: int, image: Slice, pixels: np.ndarray, annotation: SliceAnnotation
) -> int:
    digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    try:
        number = connection.execute(
            "INSERT INTO slice VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            (
                series,
                image.sop_uid,
                image.frame,
                str(image.source.path.absolute()),
                image.source.member,
                annotation.organ,
                digest,
            ),
        ).lastrowid
    except sqlite3.IntegrityError as error:
        raise DatabaseError(f"{image.source}: SOP Instance UID stands in two series") from error
    connection.executemany(
        "INSERT INTO lesion_box VALUES (?, ?, ?, ?, ?, ?)",
        [(number, stage, *box) for stage, box in annotation.lesions],
    )
    return number


def _insert_patients(connection: sqlite3.Connection, seed: int) -> dict[str, str]:
    """Find each patient's stage, split the patients; return the split by patient."""
    stages: dict[str, str] = {}
    for patient, stage in connection.execute(
        "SELECT DISTINCT patient, stage FROM series JOIN slice USING (series) LEFT JOIN lesion_box USING (slice)"
        " ORDER BY series"
    ):
        known = stages.setdefault(patient, NORMAL)
        if stage is None or stage == known:
            continue
        if known != NORMAL:
            raise DatabaseError(f"a patient is annotated with two stages, {known} and {stage}; correct the CSV")
        stages[patient] = stage
    splits = split_patients(stages, seed)
    connection.executemany(
        "INSERT INTO patient VALUES (?, ?, ?)", [(p, stage, splits[p]) for p, stage in stages.items()]
    )
    return splits


def split_patients(stages: dict[str, str], seed: int) -> dict[str, str]:
    """Seeded random split by patient, stratified by stage (paper 3.2: random; here never one patient on two sides).

    Args:
        stages: stage by patient, in an order that does not depend on chance.
        seed: of the order within a stage.

    Returns:
        "train", "val" or "test" by patient; the shares are `SPLITS`.
    """
    chance = np.random.default_rng(seed)
    patients = list(stages)
    order = sorted(zip([stages[p] for p in patients], chance.random(len(patients)), patients, strict=True))
    assigned = dict.fromkeys(SPLITS, 0)
    splits = {}
    for count, (_, _, patient) in enumerate(order, start=1):
        split = max(SPLITS, key=lambda name: SPLITS[name] * count - assigned[name])
        assigned[split] += 1
        splits[patient] = split
    return splits


def _refuse_image_on_two_sides(connection: sqlite3.Connection) -> None:
    twice = connection.execute(
        "SELECT min(path), max(path) FROM slice JOIN series USING (series) JOIN patient USING (patient)"
        " GROUP BY pixel_sha256 HAVING count(DISTINCT split) > 1"
    ).fetchone()
    if twice:
        raise SplitError(f"{twice[0]} and {twice[1]} hold one image, yet stand on two sides of the split")


def _insert_samples(connection: sqlite3.Connection, samples: list[Sample], splits: dict[str, str], seed: int) -> None:
    """Number the samples of each LMDB in seeded random order (paper 3.2: images picked at random)."""
    chance = np.random.default_rng(seed)
    samples = [s for s in samples if s.jitter is None or splits[s.patient] == "train"]
    keys: dict[tuple[str, str], int] = {}
    for index in chance.permutation(len(samples)):
        sample = samples[index]
        split = splits[sample.patient]
        key = keys.get((sample.task, split), 0)
        keys[sample.task, split] = key + 1
        connection.execute(
            "INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                sample.task,
                split,
                key,
                sample.slice,
                sample.label,
                sample.mm_per_pixel,
                sample.row,
                sample.col,
                bool(sample.task == "stage" and chance.random() < 0.5),  # a tumour may lie on either side
                *(astuple(sample.jitter) if sample.jitter else (None,) * 4),
            ),
        )


def _key(database: Path) -> bytes:
    """The secret under which patients are hashed, made on first use and readable by its owner only."""
    path = database.with_suffix(".key")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    return path.read_bytes()
