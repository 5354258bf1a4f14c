"""Building of the sample database, or adding to the one that stands there.

`label_sources` reads the labels, `agreement` puts them together, `splitting` gives the sides, `sampling` plans the
samples. A database grows: building again adds patients, series and annotations that are new, and changes nothing that
stands there. What is new is found by UIDs, so every header is read each time; pixels are decoded only of what is new or
whose file has another size or time than before. (A hash of each file would have to read it all, which costs as much as
decoding it.)
"""

import fcntl
import hashlib
import hmac
import os
import shutil
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

import nbcad
from nbcad import cli, splitting
from nbcad.agreement import Said, agree, together
from nbcad.annotations import PatientLabel, SliceAnnotation, read_patients
from nbcad.database import SCHEMA_VERSION, class_counts, connect, pixel_hash
from nbcad.errors import DatabaseError
from nbcad.label_sources import LESIONS, Key, LabelFile, read_labels
from nbcad.labels import NORMAL
from nbcad.parallel import Map
from nbcad.sampling import Sample, plan_samples, windows_per_box
from nbcad.series import (
    IGNORED,
    REFUSED,
    USED,
    Archive,
    FileRecord,
    Series,
    Slice,
    Source,
    read_archive,
    read_pixels,
)
from nbcad.series_rules import Rule, decide, read_rules
from nbcad.splitting import SplitPlan


@dataclass(frozen=True)
class Options:
    """What decides a database besides its images and labels; the same from its first build on."""

    split: SplitPlan = field(default_factory=SplitPlan)
    balance: bool = False  # keep of each class of the training samples no more than of the rarest
    lesions: str = LESIONS  # see `label_sources.read_labels`

    def as_meta(self) -> dict[str, str]:
        """Texts for the table ``meta``."""
        split = {name: str(getattr(self.split, name)) for name in ("seed", "shares", "folds", "fold", "by")}
        return {f"split_{name}" if name == "by" else name: text for name, text in split.items()} | {
            "balance": str(self.balance),
            "lesions": self.lesions,
        }


@dataclass
class Built:
    """What a build did."""

    counts: dict[str, dict[str, dict[str, int]]]  # samples by task, split and label
    sides: list[str]  # see `splitting.describe`
    added: dict[str, int]  # rows by table
    problems: list[str]  # what was not taken, or is not as it was; one line each
    refused: int  # image files
    idle_labels: int  # label files of images that are not taken


@dataclass
class _Standing:
    """What a database already holds of one slice."""

    slice: int
    series: int
    patient: str
    place: str  # absolute path, with the member of a zip
    pixel_sha256: str
    annotations: dict[str, SliceAnnotation] = field(default_factory=dict)  # by the label file's path


@dataclass(frozen=True)
class _Plan:
    """What the samples of one slice are planned by."""

    annotation: SliceAnnotation
    windows: list[float]  # see `sampling.windows_per_box`


@dataclass(frozen=True)
class _Reading:
    """One series to decode."""

    series: Series
    patient: str
    plans: list[_Plan | None]  # of each slice; None: it had an annotation before
    seed: int


@dataclass(frozen=True)
class _ReadSlice:
    """What is kept of a slice that could be decoded."""

    place: int  # among those of its series
    pixel_sha256: str
    samples: list[Sample]  # with that place instead of a number


@dataclass
class _Build:
    """One run while it goes on."""

    connection: sqlite3.Connection
    run: int
    key: bytes
    options: Options
    archive: Archive
    stages: Path | None  # the table of patients
    each: Map  # where pixels are decoded
    problems: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)  # new ones
    refused: int = 0  # image files
    idle_labels: int = 0  # label files of images that are not taken
    files: dict[str, tuple[str, str, int, int]] = field(init=False)  # status, reason, bytes, mtime_ns; before this run

    def __post_init__(self) -> None:
        rows = self.connection.execute("SELECT path, status, reason, bytes, mtime_ns FROM file").fetchall()
        self.files = {path: (status, reason, size, mtime_ns) for path, status, reason, size, mtime_ns in rows}

    def patient(self, series: Series) -> str:
        """The hash under which a series' patient stands."""
        return hmac.new(self.key, series.patient_id.encode(), hashlib.sha256).hexdigest()

    def insert(self, table: str, **values: str | float | None) -> int:
        """Insert a row of this run; return its number."""
        values["run"] = self.run
        marks = ", ".join("?" * len(values))
        statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"
        return _inserted(self.connection.execute(statement, tuple(values.values())))


def build(
    dicom: Path,
    labels: Iterable[Path],
    database: Path,
    options: Options | None = None,
    stages: Path | None = None,
    force: bool = False,
    each: Map = map,
) -> Built:
    """Build the sample database of a DICOM folder and its labels, or add to the one that stands there.

    Args:
        dicom: folder, zip or file with the images.
        labels: label files, or folders of them; see `label_sources`.
        database: the SQLite file, replaced as a whole; its key lies beside it as ``.key``.
        options: None: the defaults.
        stages: table of patients that gives the lesions of SEGs, structure sets and masks their stage.
        force: build anew; else what stands there stays as it is, and if there is nothing to add, so does the file.
        each: where headers are read and pixels are decoded.

    Raises:
        InputError: the labels or the images cannot be read.
        DatabaseError: no annotated slice was found, a patient has two stages, or the database that stands there was
            built with other options or another key.
        SplitError: one image stands under two patients, or on two sides of the split.
        WorkerError: see `parallel.Map`.
    """
    options = options or Options()
    archive = read_archive(dicom, each)
    patients: dict[str, PatientLabel] = read_patients(stages) if stages else {}
    files = read_labels(labels, archive.series, patients, options.lesions)
    key = _key(database, force)
    with (
        _alone(database),
        cli.replacing_file(database) as temporary,
        closing(_open(temporary, None if force else database, options, key)) as connection,
    ):
        this = _Build(connection, _insert_run(connection), key, options, archive, stages, each)
        before = connection.total_changes
        _add(this, files)
        built = _result(this)
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


def _insert_run(connection: sqlite3.Connection) -> int:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return _inserted(connection.execute("INSERT INTO run VALUES (NULL, ?, ?)", (now, nbcad.__version__)))


def _inserted(cursor: sqlite3.Cursor) -> int:
    """The number of the row that was inserted."""
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _held(connection: sqlite3.Connection) -> dict[Key, _Standing]:
    """What the database holds, by slice."""
    held: dict[Key, _Standing] = {}
    by_slice: dict[int, _Standing] = {}
    by_annotation: dict[int, SliceAnnotation] = {}
    for sop_uid, frame, number, series, patient, path, member, digest in connection.execute(
        "SELECT sop_uid, frame, slice, series, patient, path, member, pixel_sha256"
        " FROM slice JOIN series USING (series) JOIN study USING (study)"
    ):
        place = str(Source(Path(path), member))
        held[sop_uid, frame] = by_slice[number] = _Standing(number, series, patient, place, digest)
    for number, of_slice, path, organ, known in connection.execute(
        "SELECT annotation, slice, path, organ, lesions_known FROM annotation JOIN label_file USING (label_file)"
    ):
        said = by_annotation[number] = SliceAnnotation(organ, bool(known))
        by_slice[of_slice].annotations[path] = said
    for number, stage, row0, col0, row1, col1 in connection.execute("SELECT * FROM box ORDER BY rowid"):
        by_annotation[number].lesions.append((stage, (row0, col0, row1, col1)))
    return held


def _add(this: _Build, files: list[LabelFile]) -> None:
    """Add what is new, in one transaction."""
    held = _held(this.connection)
    labels, this.problems = agree(files, {key: s.annotations for key, s in held.items() if s.annotations})
    _report_vanished(this)
    _take_images(this, labels, held)
    _insert_files(this, files)
    _set_stages(this)
    _refuse_phantom_among_patients(this)
    _assign_sides(this)
    splitting.refuse_leaks(this.connection)
    _insert_samples(this)


def _take_images(this: _Build, labels: dict[Key, Said], held: dict[Key, _Standing]) -> None:
    """Insert every annotated series that the nets are for, and annotations that are new; plan their samples."""
    rules, to_take = read_rules(), []
    for series in this.archive.series:
        keys = [(image.sop_uid, image.frame) for image in series.slices]
        if any(key in held for key in keys):
            _compare(this, series, held)
            if any(key in held and not held[key].annotations and key in labels for key in keys):
                of_old = [image for image, key in zip(series.slices, keys, strict=True) if key in held]
                to_take.append(replace(series, slices=of_old))
            continue
        reason = _reason_not_taken(series, labels, rules)
        if reason:
            for image in series.slices:
                image.set_aside(IGNORED, reason)
        else:
            to_take.append(series)
    whole = {key: together(said for _, said in labels[key]) for key in labels}
    old = {key: together(s.annotations.values()) for key, s in held.items() if s.annotations}
    windows = _windows(this, to_take, whole | old) if to_take else {}  # of earlier samples the number stays as it is
    readings = (_reading(this, series, held, whole, windows) for series in to_take)
    read = zip(to_take, this.each(_read_series, readings), strict=True)
    if to_take:
        read = cli.progress(read, total=len(to_take), desc="database", unit="series")
    for series, (records, slices) in read:
        for image, record in zip(series.slices, records, strict=True):
            image.record.adopt(record)
        _insert_read(this, series, slices, held, labels)
    if this.connection.execute("SELECT 1 FROM slice").fetchone() is None:
        why = f"; {this.problems[0]}" if this.problems else "; see the annotation CSV's sop_uid"
        raise DatabaseError(f"no annotated series that data/series_rules.toml takes was found{why}")


def _windows(this: _Build, new: list[Series], annotated: dict[Key, SliceAnnotation]) -> dict[Key, list[float]]:
    """How many windows to take round each box of each annotated slice, counting the lesions that stand there too."""
    rows = this.connection.execute("SELECT series, sop_uid, frame FROM slice ORDER BY series, slice").fetchall()
    keys = [[(uid, frame) for _, uid, frame in of_series] for _, of_series in groupby(rows, itemgetter(0))]
    standing = {key for of_series in keys for key in of_series}
    taken = [[(image.sop_uid, image.frame) for image in series.slices] for series in new]
    keys += [of_series for of_series in taken if of_series[0] not in standing]
    counts = windows_per_box([[annotated.get(key, SliceAnnotation()) for key in of_series] for of_series in keys])
    return {key: n for row, found in zip(keys, counts, strict=True) for key, n in zip(row, found, strict=True)}


def _reason_not_taken(series: Series, labels: dict[Key, Said], rules: list[Rule]) -> str:
    reason = decide(series, rules).reason
    if reason:
        return reason
    if not series.patient_id.strip():
        return "(0010,0020) Patient ID is empty: the patient cannot be told from others, so no side of a split is safe"
    if not any((image.sop_uid, image.frame) in labels for image in series.slices):
        return "no slice of the series is annotated"
    return ""


def _reading(
    this: _Build,
    series: Series,
    held: dict[Key, _Standing],
    annotated: dict[Key, SliceAnnotation],
    windows: dict[Key, list[float]],
) -> _Reading:
    keys = [(image.sop_uid, image.frame) for image in series.slices]
    plans = [
        None
        if key in held and held[key].annotations
        else _Plan(annotated.get(key, SliceAnnotation()), windows.get(key, []))
        for key in keys
    ]
    patient = held[keys[0]].patient if keys[0] in held else this.patient(series)
    return _Reading(series, patient, plans, this.options.split.seed)


def _read_series(reading: _Reading) -> tuple[list[FileRecord], list[_ReadSlice]]:
    """Decode a series and plan its samples; with the record of each slice's file, as it is afterwards."""
    images = reading.series.slices
    places = {id(image): place for place, image in enumerate(images)}
    read = []
    for image, pixels in zip(*read_pixels(reading.series), strict=True):
        place = places[id(image)]
        plan, samples = reading.plans[place], []
        if plan:
            samples = plan_samples(reading.patient, place, image, pixels, plan.annotation, plan.windows, reading.seed)
        read.append(_ReadSlice(place, pixel_hash(pixels), samples))
    return [image.record for image in images], read


def _insert_read(
    this: _Build, series: Series, read: list[_ReadSlice], held: dict[Key, _Standing], labels: dict[Key, Said]
) -> None:
    """Insert a series if it is new, and the annotations of those of its slices that had none."""
    number = None
    for found in read:
        image = series.slices[found.place]
        key = image.sop_uid, image.frame
        if key not in held:
            number = number or _insert_series(this, series)
            of_slice = _insert_slice(this, number, image, found.pixel_sha256)
        elif held[key].annotations:
            continue
        else:
            of_slice = held[key].slice
        _insert_annotations(this, of_slice, labels.get(key, []))
        this.samples += [replace(sample, slice=of_slice) for sample in found.samples]


def _insert_series(this: _Build, series: Series) -> int:
    return this.insert(
        "series",
        study=_study(this, series, this.patient(series)),
        series_uid=series.series_uid,
        weighting=series.weighting,
        phantom=series.phantom,
    )


def _study(this: _Build, series: Series, patient: str) -> int:
    """The number of a series' study; patient and study are inserted if they are new."""
    this.connection.execute("INSERT OR IGNORE INTO patient VALUES (?, ?, ?)", (patient, NORMAL, this.run))
    known = this.connection.execute(
        "SELECT study FROM study WHERE patient = ? AND study_uid = ?", (patient, series.study_uid)
    ).fetchone()
    if known:
        return known[0]
    return this.insert("study", patient=patient, study_uid=series.study_uid, age_months=series.age_months)


def _insert_slice(this: _Build, series: int, image: Slice, pixel_sha256: str) -> int:
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


def _insert_annotations(this: _Build, number: int, said: Said) -> None:
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


def _label_file(this: _Build, file: LabelFile) -> int:
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


def _compare(this: _Build, series: Series, held: dict[Key, _Standing]) -> None:
    """Name what is not as the database has it; a series that stands there does not grow."""
    of_series = [(image, held.get((image.sop_uid, image.frame))) for image in series.slices]
    stands = next(standing for _, standing in of_series if standing)
    if stands.patient != this.patient(series):
        this.problems.append(
            f"{stands.place}: (0010,0020) Patient ID is another than in the database; --force builds anew"
        )
    touched = []
    for image, standing in of_series:
        place = os.path.abspath(str(image.source))
        before = this.files.get(place)
        if before and before[2:] != _stat(place):
            before = None  # it was another file
        if standing is None and before and before[0] != USED:
            image.set_aside(*before[:2])  # as it was found then
        elif standing is None:
            reason = "a further slice of a series that stands in the database; --force builds it anew"
            image.set_aside(REFUSED, reason)
            this.problems.append(f"{place}: {reason}")
        elif place != standing.place:
            image.set_aside(IGNORED, f"stands in the database as {standing.place}")
        elif before is None:
            touched.append(image)
    if not touched:
        return
    slices, volume = read_pixels(replace(series, slices=touched))
    now = {id(image): pixel_hash(pixels) for image, pixels in zip(slices, volume, strict=True)}
    for image in touched:
        if now.get(id(image)) != held[image.sop_uid, image.frame].pixel_sha256:
            this.problems.append(f"{image.source}: has changed since it came into the database; --force builds anew")


def _report_vanished(this: _Build) -> None:
    gone = [path for path, (status, *_) in this.files.items() if status == USED and _stat(path) is None]
    if gone:
        more = f" and {len(gone) - 1} more files" if len(gone) > 1 else ""
        this.problems.append(f"{gone[0]}{more}: stands in the database, but is there no longer")


def _stat(place: str) -> tuple[int, int] | None:
    """Size in bytes and time in ns of a file, or of the zip that holds it; None: there is no regular file."""
    parts = place.split("!")
    for end in range(len(parts), 0, -1):
        path = Path("!".join(parts[:end]))
        if path.is_file():
            status = path.stat()
            return status.st_size, status.st_mtime_ns
    return None


def _insert_files(this: _Build, labels: list[LabelFile]) -> None:
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
        size, mtime_ns = _stat(place) or (0, 0)
        now = status, reason, size, mtime_ns
        if before is None:
            this.insert("file", path=place, status=status, reason=reason, bytes=size, mtime_ns=mtime_ns)
        elif before[0] != USED and before != now:
            this.connection.execute(
                "UPDATE file SET status = ?, reason = ?, bytes = ?, mtime_ns = ?, run = ? WHERE path = ?",
                (*now, this.run, place),
            )


def _set_stages(this: _Build) -> None:
    """Give each patient the stage of its lesions."""
    found = this.connection.execute(
        "SELECT patient, min(lesion_box.stage), max(lesion_box.stage), patient.stage, min(path)"
        " FROM lesion_box JOIN slice USING (slice) JOIN series USING (series) JOIN study USING (study)"
        " JOIN patient USING (patient) GROUP BY patient"
    ).fetchall()
    for patient, stage, other, before, path in found:
        if stage != other:
            raise DatabaseError(
                f"a patient is annotated with two stages, {stage} and {other}, see {path}; correct that"
            )
        if stage != before:
            this.connection.execute("UPDATE patient SET stage = ? WHERE patient = ?", (stage, patient))


def _refuse_phantom_among_patients(this: _Build) -> None:
    kinds = this.connection.execute(
        "SELECT path FROM slice JOIN series USING (series) GROUP BY phantom ORDER BY phantom"
    ).fetchall()
    if len(kinds) > 1:
        raise DatabaseError(
            f"{kinds[0][0]} is a patient's, {kinds[1][0]} a phantom's; keep them in two databases (--out)"
        )


def _assign_sides(this: _Build) -> None:
    """Give every patient (split by image: every slice) without a side one."""
    unit = "patient" if this.options.split.by == splitting.BY_PATIENT else "slice"
    strata = {
        "patient": "SELECT patient, stage FROM patient ORDER BY rowid",
        "slice": "SELECT slice, coalesce(min(stage), ?) FROM slice LEFT JOIN lesion_box USING (slice)"
        " GROUP BY slice ORDER BY slice",
    }[unit]
    stages = dict(this.connection.execute(strata, (NORMAL,) * strata.count("?")).fetchall())
    rows = this.connection.execute(f"SELECT {unit}, side, fold FROM split").fetchall()
    standing = {one: (side, fold) for one, side, fold in rows}
    for one, (side, fold) in this.options.split.assign(stages, standing).items():
        this.insert("split", **{unit: one}, side=side, fold=fold)


def _insert_samples(this: _Build) -> None:
    """Number the new samples of each LMDB in seeded random order, after those that stand there.

    The order within a run is random (paper 3.2: images picked at random).
    """
    sides = dict(this.connection.execute("SELECT slice, side FROM slice_side"))
    keys = {
        (task, side): count
        for task, side, count in this.connection.execute(
            "SELECT task, split, count(*) FROM sample GROUP BY task, split"
        )
    }
    seed = this.options.split.seed
    chance = np.random.default_rng([seed, sum(keys.values())] if keys else seed)
    samples = [s for s in this.samples if s.jitter is None or sides[s.slice] == "train"]
    if this.options.balance:
        samples = _balanced(this.connection, samples, sides, chance)
    for index in chance.permutation(len(samples)):
        sample = samples[index]
        side = sides[sample.slice]
        key = keys.get((sample.task, side), 0)
        keys[sample.task, side] = key + 1
        turn_deg, zoom, down, right = astuple(sample.jitter) if sample.jitter else (None,) * 4
        this.insert(
            "sample",
            task=sample.task,
            split=side,
            key=key,
            slice=sample.slice,
            label=sample.label,
            mm_per_pixel=sample.mm_per_pixel,
            row=sample.row,
            col=sample.col,
            mirrored=bool(sample.task == "stage" and chance.random() < 0.5),  # a tumour may lie on either side
            turn_deg=turn_deg,
            zoom=zoom,
            down=down,
            right=right,
        )


def _balanced(
    connection: sqlite3.Connection, samples: list[Sample], sides: dict[int, str], chance: np.random.Generator
) -> list[Sample]:
    """Leave out training samples at random until each class has no more than the rarest that occurs.

    Samples that stand in the database stay, so after growth the classes may differ.
    """
    standing: Counter[tuple[str, int]] = Counter()
    for task, label, count in connection.execute(
        "SELECT task, label, count(*) FROM sample WHERE split = 'train' GROUP BY task, label"
    ):
        standing[task, label] = count
    by_class: dict[tuple[str, int], list[int]] = {}
    for index, sample in enumerate(samples):
        if sides[sample.slice] == "train":
            by_class.setdefault((sample.task, sample.label), []).append(index)
    out = set()
    for (task, label), indices in by_class.items():
        totals = [standing[k] + len(by_class.get(k, [])) for k in {*standing, *by_class} if k[0] == task]
        room = max(0, min(totals) - standing[task, label])
        out.update(chance.permutation(indices)[room:].tolist())
    return [sample for index, sample in enumerate(samples) if index not in out]


def _result(this: _Build) -> Built:
    tables = ("patient", "study", "series", "slice", "annotation", "sample")
    added = {
        table: this.connection.execute(f"SELECT count(*) FROM {table} WHERE run = ?", (this.run,)).fetchone()[0]
        for table in tables
    }
    sides = splitting.describe(this.connection)
    return Built(class_counts(this.connection), sides, added, this.problems, this.refused, this.idle_labels)


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
    return cli.secret_key(path)
