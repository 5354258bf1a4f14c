"""Checks and counts of a sample database: leaks between sides of the split, keys, runs and sources of labels."""

from typing import NamedTuple

from nbcad.errors import SplitError
from nbcad.nets.labels import stage_labels
from nbcad.samples.database import SampleDatabase
from nbcad.samples.rows import LabelFileRow
from nbcad.samples.splitting import BY_PATIENT, SIDES

_EQUAL_PIXELS = """
    SELECT one.path || coalesce('!' || one.member, ''), other.path || coalesce('!' || other.member, ''), count(*)
    FROM slice AS one JOIN slice AS other USING (pixel_sha256)
    JOIN slice_side AS s ON s.slice = one.slice JOIN slice_side AS t ON t.slice = other.slice
    WHERE one.slice < other.slice AND """


class Leakage(NamedTuple):
    """The distance of a split from one by patient."""

    patients: int
    patients_on_several_sides: int
    test_slices: int
    test_slices_of_training_patients: int


class RunRow(NamedTuple):
    """One run that added rows to the database."""

    run: int
    time: str  # ISO 8601, UTC
    nbcad_version: str


class LabelCount(NamedTuple):
    """The numbers of label files, labelled slices and boxes from one kind of source on one side of the split."""

    source: str
    side: str
    files: int
    slices: int
    boxes: int


class PatientRow(NamedTuple):
    """A patient's stage, side of the split, number of slices and sources of labels."""

    patient: str
    stage: str
    sides: str  # joined by commas where they are several, which only a split by image allows
    fold: int | None
    slices: int
    sources: str | None  # joined by commas


def refuse_leaks(database: SampleDatabase) -> None:
    """Compare the hashes of all decoded pixels and the UIDs of all studies.

    Raises:
        SplitError: an image or a study belongs to two patients, or an image to two sides; the message names two files.
    """
    first, second, count = database.connection.execute(_EQUAL_PIXELS + "s.patient <> t.patient").fetchone()
    if count:
        raise SplitError(
            f"{first} and {second} hold one image under two patient IDs ({count} in all): "
            "give the patient one ID, or take out the copy"
        )
    first, second, count = database.connection.execute(
        "SELECT min(one.path), min(other.path), count(DISTINCT t.study)"
        " FROM study AS s JOIN study AS t USING (study_uid)"
        " JOIN series AS a ON a.study = s.study JOIN slice AS one ON one.series = a.series"
        " JOIN series AS b ON b.study = t.study JOIN slice AS other ON other.series = b.series"
        " WHERE s.study < t.study"
    ).fetchone()
    if count:
        raise SplitError(
            f"{first} and {second} are of one study, (0020,000D), under two patient IDs ({count} in all); "
            "give the patient one ID"
        )
    first, second, count = database.connection.execute(_EQUAL_PIXELS + "s.side <> t.side").fetchone()
    if count:
        raise SplitError(
            f"{first} and {second} hold one image, yet stand on two sides of the split ({count} in all); "
            "take out one, or split by patient"
        )


def leakage(database: SampleDatabase) -> Leakage:
    """Return how far the split is from one by patient."""
    (patients,) = database.connection.execute("SELECT count(*) FROM patient").fetchone()
    (several,) = database.connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM slice_side GROUP BY patient HAVING count(DISTINCT side) > 1)"
    ).fetchone()
    tested, leaking = database.connection.execute(
        "SELECT count(*), coalesce(sum(patient IN (SELECT patient FROM slice_side WHERE side = 'train')), 0)"
        " FROM slice_side WHERE side = 'test'"
    ).fetchone()
    return Leakage(patients, several, tested, leaking)


def describe_sides(database: SampleDatabase) -> list[str]:
    """Return a line a side with its number of patients by stage, and a warning if the split is not by patient."""
    patients = {side: dict.fromkeys(stage_labels(), 0) for side in SIDES}
    for side, stage, count in database.connection.execute(
        "SELECT side, stage, count(DISTINCT patient) FROM slice_side JOIN patient USING (patient) GROUP BY side, stage"
    ):
        patients[side][stage] = count
    lines = [
        f"patients_{side}: " + ", ".join(f"{name} {count}" for name, count in stages.items())
        for side, stages in patients.items()
    ]
    leak = leakage(database)
    if leak.patients_on_several_sides:
        lines.append(
            f"split by image: {leak.patients_on_several_sides} of {leak.patients} patients are on several sides, "
            f"{leak.test_slices_of_training_patients} of {leak.test_slices} test slices of training patients; "
            "figures from this database are too good, and not to be compared with those of a split by patient"
        )
    return lines


def side_problems(database: SampleDatabase) -> list[str]:
    """Return a line for each patient on several sides, for samples on a wrong side, and for gaps in an LMDB's keys."""
    problems = []
    if database.meta().get("split_by") == BY_PATIENT:
        rows = database.connection.execute(
            "SELECT patient, count(DISTINCT side) FROM slice_side GROUP BY patient HAVING count(DISTINCT side) > 1"
        )
        problems += [f"patient {patient} is on {count} sides" for patient, count in rows]
    (wrong,) = database.connection.execute(
        "SELECT count(*) FROM sample JOIN slice_side USING (slice) WHERE sample.split IS NOT side"
    ).fetchone()
    if wrong:
        problems.append(f"{wrong} samples are on another side than their slice")
    return problems + [
        f"the keys of {keys.task}_{keys.split} are not 0..{keys.entries - 1}"
        for keys in database.key_ranges()
        if keys.last != keys.entries - 1
    ]


def is_of_the_embedded_phantom(database: SampleDatabase) -> bool:
    """Return whether all images show a phantom and all labels are those of data/phantom, in whatever clone it lay."""
    (others,) = database.connection.execute(
        "SELECT (SELECT count(*) FROM series WHERE NOT phantom)"
        " + (SELECT count(*) FROM label_file WHERE path NOT LIKE '%/data/phantom/annotations.csv')"
    ).fetchone()
    return others == 0


def runs(database: SampleDatabase) -> list[RunRow]:
    """Return all runs, in order."""
    rows = database.connection.execute("SELECT run, time, nbcad_version FROM run ORDER BY run")
    return [RunRow(*row) for row in rows]


def label_counts(database: SampleDatabase) -> list[LabelCount]:
    """Return how many labels come from each kind of source, by side."""
    rows = database.connection.execute(
        "SELECT source, side, count(DISTINCT label_file), count(DISTINCT slice), count(box.annotation)"
        " FROM annotation JOIN label_file USING (label_file) JOIN slice_side USING (slice)"
        " LEFT JOIN box USING (annotation) GROUP BY source, side ORDER BY source, side"
    )
    return [LabelCount(*row) for row in rows]


def patients(database: SampleDatabase) -> list[PatientRow]:
    """Return all patients, in the order in which they came into the database."""
    rows = database.connection.execute(
        "SELECT patient.patient, stage, group_concat(DISTINCT slice_side.side), max(split.fold),"
        " count(DISTINCT slice_side.slice), group_concat(DISTINCT source)"
        " FROM patient JOIN slice_side USING (patient) LEFT JOIN split ON split.patient = patient.patient"
        " LEFT JOIN annotation ON annotation.slice = slice_side.slice LEFT JOIN label_file USING (label_file)"
        " GROUP BY patient.patient ORDER BY patient.rowid"
    )
    return [PatientRow(*row) for row in rows]


def label_files(database: SampleDatabase) -> list[LabelFileRow]:
    """Return every label file from which an annotation was taken, once for each state that was read."""
    rows = database.connection.execute("SELECT path, source, sha256, stages_path, stages_sha256 FROM label_file")
    return [LabelFileRow(*row) for row in rows]
