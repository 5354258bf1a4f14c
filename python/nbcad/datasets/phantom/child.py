"""A child's build, and the levels of the trunk's regions."""

from dataclasses import dataclass

import numpy as np

# Body size by age in months: half width, half depth, trunk (pelvic floor to thoracic apex), mm. Rounded from the
# anthropometric tables of US children (Snyder et al. 1977).
_AGES = (0, 6, 12, 36, 72, 108, 144)
_HALF_WIDTH = (55, 68, 76, 90, 103, 118, 134)
_HALF_DEPTH = (46, 56, 62, 67, 74, 82, 92)
_TRUNK = (190, 225, 255, 300, 345, 390, 435)


@dataclass(frozen=True)
class Child:
    """A child with age, sex and body size."""

    age_months: int
    sex: str  # "M" or "F"
    half_width: float  # mm
    half_depth: float
    trunk: float
    fat: float  # subcutaneous, mm
    wall: float  # muscle of chest and belly, mm

    @classmethod
    def of_age(cls, age_months: int, rng: np.random.Generator) -> "Child":
        """Draw a child of this age, with an individual build."""
        build, height = np.exp(rng.normal(0, 0.06, 2))
        depth = np.exp(rng.normal(0, 0.06))
        width = float(np.interp(age_months, _AGES, _HALF_WIDTH))
        return cls(
            age_months,
            "MF"[int(rng.integers(2))],
            width * build,
            float(np.interp(age_months, _AGES, _HALF_DEPTH)) * build * depth,
            float(np.interp(age_months, _AGES, _TRUNK)) * height,
            rng.uniform(2.5, 6.5) * width / 76,
            rng.uniform(3.5, 5.5) * width / 76,
        )


@dataclass(frozen=True)
class Levels:
    """Borders of the three regions along the trunk, relative to its length."""

    brim: float  # pelvic brim
    kidneys: float  # below the adrenals
    dome: float  # of the diaphragm
    apex: float

    @classmethod
    def of_patient(cls, rng: np.random.Generator) -> "Levels":
        """Draw the levels of one patient."""
        shift = rng.normal(0, 0.008, 4)
        return cls(0.215 + shift[0], 0.405 + shift[1], 0.565 + shift[2], 0.905 + shift[3])
