"""The generated patients: stage, primary site, vendor and body of each, from the seed alone."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from nbcad.datasets import VENDORS
from nbcad.datasets.phantom.child import Child
from nbcad.datasets.phantom.lesions import MS_BELOW_MONTHS, SITE_SHARES, STAGE_SHARES

_OLDEST_MONTHS = 144


class Purpose(IntEnum):
    """The purposes of a patient's random numbers; drawing more for one leaves the others as they are."""

    CHILD = 0
    ANATOMY = 1
    LESIONS = 2
    IMAGES = 3
    FILES = 4


@dataclass(frozen=True)
class Patient:
    """A generated patient, fixed by the seed and the patient's number alone."""

    seed: int
    number: int  # from 0
    stage: str
    site: str  # of the primary; empty for normal patients
    vendor: str

    @property
    def patient_id(self) -> str:
        """Return (0010,0020) Patient ID."""
        return f"PHANTOM{self.number + 1:04d}"

    def rng(self, purpose: Purpose) -> np.random.Generator:
        """Return random numbers for one purpose, independent of those for others."""
        return np.random.default_rng([self.seed, self.number, int(purpose)])

    def child(self) -> Child:
        """Draw age, sex and body; the age agrees with the stage."""
        rng = self.rng(Purpose.CHILD)
        if self.stage == "MS":
            return Child.of_age(int(rng.integers(0, MS_BELOW_MONTHS)), rng)
        # Neuroblastoma is a disease of the young: half of the children are below about 3 years.
        return Child.of_age(int(_OLDEST_MONTHS * rng.beta(0.8, 1.8)), rng)


def list_patients(patients: int, seed: int, vendors: tuple[str, ...] = VENDORS) -> list[Patient]:
    """List stage, primary site and vendor of each patient, in the shares of `lesions.STAGE_SHARES` at any length.

    Each patient gets the stage that lags most behind its share, and the site that does so within the stage. The vendors
    take turns within a stage.
    """
    rng = np.random.default_rng(seed)
    stage_lag = {stage: rng.random() for stage in STAGE_SHARES}
    site_lag = {stage: dict(zip(SITE_SHARES, rng.random(len(SITE_SHARES)), strict=True)) for stage in STAGE_SHARES}
    turn = {stage: int(rng.integers(len(vendors))) for stage in STAGE_SHARES}
    people = []
    for number in range(patients):
        stage = _most_behind(stage_lag, STAGE_SHARES)
        site = "" if stage == "normal" else _most_behind(site_lag[stage], SITE_SHARES)
        people.append(Patient(seed, number, stage, site, vendors[turn[stage] % len(vendors)]))
        turn[stage] += 1
    return people


def _most_behind(lag: dict[str, float], shares: dict[str, float]) -> str:
    """Add each share to its ``lag``, take 1 from the largest, and return its name."""
    for name, share in shares.items():
        lag[name] += share
    name = max(lag, key=lag.__getitem__)
    lag[name] -= 1
    return name
