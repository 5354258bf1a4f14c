"""The split into training, validation and test (paper 3.2): by patient, stratified by stage, seeded, never changed."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

SIDES = ("train", "val", "test")
BY_PATIENT, BY_IMAGE = "patient", "image"
_Unit = TypeVar("_Unit", bound=Hashable)  # patient or slice
_Part = TypeVar("_Part", bound=Hashable)  # side or fold


@dataclass(frozen=True)
class SplitPlan:
    """The options that decide a split."""

    seed: int = 1
    shares: tuple[float, float, float] = (0.70, 0.15, 0.15)  # of `SIDES`
    folds: int = 0  # 0: none; with folds the shares do not count
    fold: int = 0  # the fold to test on, zero-based; the next one is for validation
    by: str = BY_PATIENT  # or `BY_IMAGE`, the paper's literal words

    def side_of(self, fold: int) -> str:
        """Return the side of a fold."""
        return {self.fold: "test", (self.fold + 1) % self.folds: "val"}.get(fold, "train")

    def assign(
        self, strata: Mapping[_Unit, str], assigned: Mapping[_Unit, tuple[str, int | None]]
    ) -> dict[_Unit, tuple[str, int | None]]:
        """Give a side to every unit (patient or slice) that has none yet.

        Args:
            strata: stage of every unit, in an order that does not depend on chance.
            assigned: (side, fold) of the units that have one.

        Returns:
            (side, fold) of each of the others; fold is None without folds.
        """
        if not self.folds:
            sides = {unit: side for unit, (side, _) in assigned.items()}
            shares = dict(zip(SIDES, self.shares, strict=True))
            return {unit: (side, None) for unit, side in assign(strata, shares, sides, self.seed).items()}
        folds = {unit: fold for unit, (_, fold) in assigned.items() if fold is not None}
        equal = dict.fromkeys(range(self.folds), 1 / self.folds)
        return {unit: (self.side_of(fold), fold) for unit, fold in assign(strata, equal, folds, self.seed).items()}


def assign(
    strata: Mapping[_Unit, str], shares: Mapping[_Part, float], assigned: Mapping[_Unit, _Part], seed: int
) -> dict[_Unit, _Part]:
    """Draw stratified random parts for units that have none (paper 3.2: random; here never one patient on two sides).

    The units are visited stratum by stratum: in each stratum first those that have a part, then the new ones in random
    order. A new unit goes to the part that lacks most.

    Args:
        strata: stratum of every unit, in an order that does not depend on chance.
        shares: of the parts; they sum to 1.
        assigned: part of the units that have one.
        seed: of the order within a stratum.

    Returns:
        The part of every unit that is not in ``assigned``.
    """
    rng = np.random.default_rng([seed, len(assigned)] if assigned else seed)
    new = [unit for unit in strata if unit not in assigned]
    order = [(strata[unit], -1.0, unit) for unit in strata if unit in assigned]
    order += zip([strata[unit] for unit in new], rng.random(len(new)).tolist(), new, strict=True)
    order.sort(key=lambda entry: entry[:2])
    sizes = dict.fromkeys(shares, 0)
    parts: dict[_Unit, _Part] = {}
    for count, (_, _, unit) in enumerate(order, start=1):
        if unit in assigned:
            part = assigned[unit]
        else:
            part = parts[unit] = max(shares, key=lambda name: shares[name] * count - sizes[name])
        sizes[part] += 1
    return parts
