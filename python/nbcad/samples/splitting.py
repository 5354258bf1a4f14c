"""On which side of a split every patient is: by patient, stratified by stage, seeded; a side once given stays."""

import sqlite3
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from nbcad.errors import SplitError
from nbcad.nets.labels import stage_labels

SIDES = ("train", "val", "test")
BY_PATIENT, BY_IMAGE = "patient", "image"
_Unit = TypeVar("_Unit", bound=Hashable)  # patient or slice
_Part = TypeVar("_Part", bound=Hashable)  # side or fold


@dataclass(frozen=True)
class SplitPlan:
    """How a database is split."""

    seed: int = 1
    shares: tuple[float, float, float] = (0.70, 0.15, 0.15)  # of `SIDES`
    folds: int = 0  # 0: none; else the shares do not count
    fold: int = 0  # the one that is tested, zero-based; the next one is for validation
    by: str = BY_PATIENT  # or `BY_IMAGE`, the paper's literal words

    def side_of(self, fold: int) -> str:
        """The side of a fold."""
        return {self.fold: "test", (self.fold + 1) % self.folds: "val"}.get(fold, "train")

    def assign(
        self, strata: Mapping[_Unit, str], standing: Mapping[_Unit, tuple[str, int | None]]
    ) -> dict[_Unit, tuple[str, int | None]]:
        """Sides of units (patients, or slices) that have none yet.

        Args:
            strata: stage of every unit, in an order that does not depend on chance.
            standing: (side, fold) of the units that have one.

        Returns:
            (side, fold) of each of the others; fold is None without folds.
        """
        if not self.folds:
            sides = {unit: side for unit, (side, _) in standing.items()}
            of_sides = dict(zip(SIDES, self.shares, strict=True))
            return {unit: (side, None) for unit, side in assign(strata, of_sides, sides, self.seed).items()}
        folds = {unit: fold for unit, (_, fold) in standing.items() if fold is not None}
        of_folds = dict.fromkeys(range(self.folds), 1 / self.folds)
        return {unit: (self.side_of(fold), fold) for unit, fold in assign(strata, of_folds, folds, self.seed).items()}


def assign(
    strata: Mapping[_Unit, str], shares: Mapping[_Part, float], standing: Mapping[_Unit, _Part], seed: int
) -> dict[_Unit, _Part]:
    """Seeded random parts, stratified (paper 3.2: random; here never one patient on two sides).

    Units are walked stratum by stratum, in each those that stand first and the new ones then in random order; a new
    one goes to the part that lacks most.

    Args:
        strata: stratum of every unit, in an order that does not depend on chance.
        shares: of the parts; they sum to 1.
        standing: part of the units that have one already.
        seed: of the order within a stratum.

    Returns:
        The part of every unit that has none in ``standing``.
    """
    rng = np.random.default_rng([seed, len(standing)] if standing else seed)
    new = [unit for unit in strata if unit not in standing]
    order = [(strata[unit], -1.0, unit) for unit in strata if unit in standing]
    order += zip([strata[unit] for unit in new], rng.random(len(new)).tolist(), new, strict=True)
    order.sort(key=lambda of_unit: of_unit[:2])
    assigned = dict.fromkeys(shares, 0)
    parts: dict[_Unit, _Part] = {}
    for count, (_, _, unit) in enumerate(order, start=1):
        if unit in standing:
            part = standing[unit]
        else:
            part = parts[unit] = max(shares, key=lambda name: shares[name] * count - assigned[name])
        assigned[part] += 1
    return parts


def refuse_leaks(connection: sqlite3.Connection) -> None:
    """Compare the decoded pixels of all slices, and the UIDs of all studies.

    Raises:
        SplitError: an image or a study stands under two patients, or an image on two sides; two files are named.
    """
    pairs = """
        SELECT one.path || coalesce('!' || one.member, ''), other.path || coalesce('!' || other.member, ''), count(*)
        FROM slice AS one JOIN slice AS other USING (pixel_sha256)
        JOIN slice_side AS s ON s.slice = one.slice JOIN slice_side AS t ON t.slice = other.slice
        WHERE one.slice < other.slice AND """
    first, second, count = connection.execute(pairs + "s.patient <> t.patient").fetchone()
    if count:
        raise SplitError(
            f"{first} and {second} hold one image under two patient IDs ({count} in all): "
            "give the patient one ID, or take out the copy"
        )
    first, second, count = connection.execute(
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
    first, second, count = connection.execute(pairs + "s.side <> t.side").fetchone()
    if count:
        raise SplitError(
            f"{first} and {second} hold one image, yet stand on two sides of the split ({count} in all); "
            "take out one, or split by patient"
        )


def leakage(connection: sqlite3.Connection) -> dict[str, int]:
    """How far a split is from one by patient.

    Returns:
        ``patients``; ``patients_on_several_sides``; ``test_slices``; ``test_slices_of_training_patients``.
    """
    patients = connection.execute("SELECT count(*) FROM patient").fetchone()[0]
    several = connection.execute(
        "SELECT count(*) FROM (SELECT 1 FROM slice_side GROUP BY patient HAVING count(DISTINCT side) > 1)"
    ).fetchone()[0]
    tested, leaking = connection.execute(
        "SELECT count(*), coalesce(sum(patient IN (SELECT patient FROM slice_side WHERE side = 'train')), 0)"
        " FROM slice_side WHERE side = 'test'"
    ).fetchone()
    return {
        "patients": patients,
        "patients_on_several_sides": several,
        "test_slices": tested,
        "test_slices_of_training_patients": leaking,
    }


def describe(connection: sqlite3.Connection) -> list[str]:
    """Number of patients by side and stage, a line a side; and what a split by image lets through."""
    patients = {side: dict.fromkeys(stage_labels(), 0) for side in SIDES}
    for side, stage, count in connection.execute(
        "SELECT side, stage, count(DISTINCT patient) FROM slice_side JOIN patient USING (patient) GROUP BY side, stage"
    ):
        patients[side][stage] = count
    lines = [
        f"patients_{side}: " + ", ".join(f"{name} {count}" for name, count in stages.items())
        for side, stages in patients.items()
    ]
    leak = leakage(connection)
    if leak["patients_on_several_sides"]:
        lines.append(
            f"split by image: {leak['patients_on_several_sides']} of {leak['patients']} patients are on several sides, "
            f"{leak['test_slices_of_training_patients']} of {leak['test_slices']} test slices of training patients; "
            "figures from this database are too good, and not to be compared with those of a split by patient"
        )
    return lines
