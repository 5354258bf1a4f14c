"""Stages, sides of the split and the order of samples, once all images are in the database."""

import sqlite3
from collections import Counter
from dataclasses import astuple

import numpy as np

from nbcad.errors import DatabaseError
from nbcad.nets.labels import NORMAL
from nbcad.samples import splitting
from nbcad.samples.build_run import Build
from nbcad.samples.sampling import Sample


def set_stages(build: Build) -> None:
    """Give each patient the stage of its lesions."""
    found = build.connection.execute(
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
            build.connection.execute("UPDATE patient SET stage = ? WHERE patient = ?", (stage, patient))


def refuse_phantom_among_patients(build: Build) -> None:
    kinds = build.connection.execute(
        "SELECT path FROM slice JOIN series USING (series) GROUP BY phantom ORDER BY phantom"
    ).fetchall()
    if len(kinds) > 1:
        raise DatabaseError(
            f"{kinds[0][0]} is a patient's, {kinds[1][0]} a phantom's; keep them in two databases (--out)"
        )


def assign_sides(build: Build) -> None:
    """Give every patient (split by image: every slice) without a side one."""
    unit = "patient" if build.options.split.by == splitting.BY_PATIENT else "slice"
    strata = {
        "patient": "SELECT patient, stage FROM patient ORDER BY rowid",
        "slice": "SELECT slice, coalesce(min(stage), ?) FROM slice LEFT JOIN lesion_box USING (slice)"
        " GROUP BY slice ORDER BY slice",
    }[unit]
    stages = dict(build.connection.execute(strata, (NORMAL,) * strata.count("?")).fetchall())
    rows = build.connection.execute(f"SELECT {unit}, side, fold FROM split").fetchall()
    standing = {one: (side, fold) for one, side, fold in rows}
    for one, (side, fold) in build.options.split.assign(stages, standing).items():
        build.insert("split", **{unit: one}, side=side, fold=fold)


def insert_samples(build: Build) -> None:
    """Number the new samples of each LMDB in seeded random order, after those that stand there.

    The order within a run is random (paper 3.2: images picked at random).
    """
    sides = dict(build.connection.execute("SELECT slice, side FROM slice_side"))
    keys = {
        (task, side): count
        for task, side, count in build.connection.execute(
            "SELECT task, split, count(*) FROM sample GROUP BY task, split"
        )
    }
    seed = build.options.split.seed
    rng = np.random.default_rng([seed, sum(keys.values())] if keys else seed)
    samples = [s for s in build.samples if s.jitter is None or sides[s.slice] == "train"]
    if build.options.balance:
        samples = _balanced(build.connection, samples, sides, rng)
    for index in rng.permutation(len(samples)):
        sample = samples[index]
        side = sides[sample.slice]
        key = keys.get((sample.task, side), 0)
        keys[sample.task, side] = key + 1
        turn_deg, zoom, down, right = astuple(sample.jitter) if sample.jitter else (None,) * 4
        build.insert(
            "sample",
            task=sample.task,
            split=side,
            key=key,
            slice=sample.slice,
            label=sample.label,
            mm_per_pixel=sample.mm_per_pixel,
            row=sample.row,
            col=sample.col,
            mirrored=bool(sample.task == "stage" and rng.random() < 0.5),  # a tumour may lie on either side
            turn_deg=turn_deg,
            zoom=zoom,
            down=down,
            right=right,
        )


def _balanced(
    connection: sqlite3.Connection, samples: list[Sample], sides: dict[int, str], rng: np.random.Generator
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
        out.update(rng.permutation(indices)[room:].tolist())
    return [sample for index, sample in enumerate(samples) if index not in out]
