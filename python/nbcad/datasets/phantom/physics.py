"""Tissues and their signal: magnetic resonance by the closed-form equations, and then its degradation."""

from dataclasses import dataclass
from enum import IntEnum

import cv2
import numpy as np

GRE = "GR"
SPIN_ECHO = "SE"


class Tissue(IntEnum):
    """Labels of the anatomy's voxels."""

    AIR = 0
    LUNG = 1
    FAT = 2
    MUSCLE = 3
    CORTICAL_BONE = 4
    MARROW = 5
    DISC = 6
    CSF = 7
    CORD = 8
    LIVER = 9
    SPLEEN = 10
    KIDNEY_CORTEX = 11
    KIDNEY_MEDULLA = 12
    URINE = 13
    ADRENAL = 14
    PANCREAS = 15
    BILE = 16
    ARTERY = 17
    VEIN = 18
    HEART_WALL = 19
    HEART_BLOOD = 20
    THYMUS = 21
    BOWEL_WALL = 22
    BOWEL_FLUID = 23
    BOWEL_MIXED = 24
    GAS = 25
    STOMACH_CONTENT = 26
    NODE = 27
    SOFT_TISSUE = 28
    TUMOUR = 29
    TUMOUR_DENSE = 30
    SEPTUM = 31
    NECROSIS = 32
    HAEMORRHAGE = 33
    SKIN = 34


TUMOUR_TISSUES = (Tissue.TUMOUR, Tissue.TUMOUR_DENSE, Tissue.SEPTUM, Tissue.NECROSIS, Tissue.HAEMORRHAGE)

# Proton density (water = 1; lower where flow or susceptibility takes signal), T1 and T2 in ms at 1.5 T, ADC in
# 1e-3 mm2/s, and the relative grain of the tissue's signal. Rounded from the ranges of Stanisz et al. 2005,
# de Bazelaire et al. 2004 (relaxation) and Taouli and Koh 2010 (ADC of the abdomen); tumour as a cellular tissue.
_PROPERTIES = {
    Tissue.AIR: (0.00, 1000, 50, 0.0, 0.00),
    Tissue.LUNG: (0.10, 1200, 40, 1.5, 0.35),
    Tissue.FAT: (0.90, 290, 150, 0.2, 0.06),
    Tissue.MUSCLE: (0.80, 950, 40, 1.5, 0.07),
    Tissue.CORTICAL_BONE: (0.15, 500, 15, 0.3, 0.10),
    Tissue.MARROW: (0.75, 620, 58, 0.5, 0.10),
    Tissue.DISC: (0.85, 1100, 95, 1.9, 0.06),
    Tissue.CSF: (0.95, 4000, 500, 3.0, 0.08),
    Tissue.CORD: (0.80, 900, 80, 0.9, 0.04),
    Tissue.LIVER: (0.76, 590, 48, 1.1, 0.07),
    Tissue.SPLEEN: (0.85, 1050, 76, 0.85, 0.05),
    Tissue.KIDNEY_CORTEX: (0.85, 980, 86, 2.0, 0.06),
    Tissue.KIDNEY_MEDULLA: (0.90, 1400, 115, 2.1, 0.06),
    Tissue.URINE: (1.00, 3500, 600, 3.0, 0.02),
    Tissue.ADRENAL: (0.80, 750, 65, 1.2, 0.05),
    Tissue.PANCREAS: (0.80, 600, 60, 1.5, 0.10),
    Tissue.BILE: (0.95, 2200, 350, 2.8, 0.03),
    Tissue.ARTERY: (0.12, 1400, 120, 3.0, 0.20),
    Tissue.VEIN: (0.35, 1400, 130, 2.8, 0.20),
    Tissue.HEART_WALL: (0.75, 1000, 50, 1.5, 0.15),
    Tissue.HEART_BLOOD: (0.30, 1400, 130, 3.0, 0.40),
    Tissue.THYMUS: (0.85, 850, 82, 1.3, 0.06),
    Tissue.BOWEL_WALL: (0.80, 900, 52, 1.4, 0.08),
    Tissue.BOWEL_FLUID: (0.90, 2500, 240, 2.6, 0.10),
    Tissue.BOWEL_MIXED: (0.80, 600, 75, 1.6, 0.15),
    Tissue.GAS: (0.00, 1000, 20, 0.0, 0.00),
    Tissue.STOMACH_CONTENT: (0.92, 1700, 170, 2.4, 0.15),
    Tissue.NODE: (0.85, 1050, 84, 1.0, 0.05),
    Tissue.SOFT_TISSUE: (0.80, 800, 55, 1.3, 0.08),
    Tissue.TUMOUR: (0.96, 1300, 210, 0.75, 0.06),
    Tissue.TUMOUR_DENSE: (0.62, 1200, 40, 0.65, 0.06),
    Tissue.SEPTUM: (0.55, 950, 36, 0.9, 0.06),
    Tissue.NECROSIS: (1.00, 2300, 330, 1.9, 0.05),
    Tissue.HAEMORRHAGE: (0.65, 560, 36, 0.6, 0.08),
    Tissue.SKIN: (0.70, 900, 45, 1.2, 0.05),
}


@dataclass(frozen=True)
class Tissues:
    """Magnetic properties by label: arrays of shape (number of tissues,)."""

    proton_density: np.ndarray  # relative to water
    t1_ms: np.ndarray
    t2_ms: np.ndarray
    adc: np.ndarray  # 1e-3 mm2/s
    grain: np.ndarray  # relative standard deviation within the tissue

    @classmethod
    def typical(cls) -> "Tissues":
        """Return the literature's values at 1.5 T."""
        return cls(*np.array([_PROPERTIES[t] for t in Tissue], dtype=float).T)

    @classmethod
    def of_patient(cls, rng: np.random.Generator) -> "Tissues":
        """Draw the values of one patient, spread around the typical ones."""
        values = [getattr(cls.typical(), name) for name in cls.__dataclass_fields__]
        spread = (0.05, 0.08, 0.13, 0.12, 0.25)  # relative, in the order of the fields
        return cls(
            *(v * np.exp(s * rng.standard_normal(v.shape).clip(-2, 2)) for v, s in zip(values, spread, strict=True))
        )


@dataclass(frozen=True)
class Sequence:
    """The parameters of a sequence that the signal depends on."""

    technique: str  # SPIN_ECHO or GRE, as in (0018,0020) Scanning Sequence
    repetition_ms: float
    echo_ms: float
    flip_deg: float = 90.0
    b_value: float = 0.0  # s/mm2
    fat_left: float = 1.0  # share of fat's signal that is left; below 1 with spectral fat suppression


def signal(tissues: Tissues, sequence: Sequence, field_tesla: float) -> np.ndarray:
    """Return the magnitude by tissue without noise, relative to fully relaxed water; shape (number of tissues,).

    Spin echo: PD (1 - exp(-TR/T1)) exp(-TE/T2). Spoiled gradient echo: the Ernst equation with T2* taken as T2/2.
    Diffusion: times exp(-b ADC) (Stejskal and Tanner 1965). T1 grows with the cube root of the field (Bottomley et
    al. 1984). Sources: Haacke et al., Magnetic Resonance Imaging, chapters 8 and 18.
    """
    t1 = tissues.t1_ms * (field_tesla / 1.5) ** (1 / 3)
    t2 = tissues.t2_ms * (0.92 if field_tesla > 2 else 1.0)  # a little shorter at 3 T (de Bazelaire et al. 2004)
    recovery = np.exp(-sequence.repetition_ms / t1)
    if sequence.technique == SPIN_ECHO:
        magnitude = (1 - recovery) * np.exp(-sequence.echo_ms / t2)
    else:
        flip = np.deg2rad(sequence.flip_deg)
        magnitude = np.sin(flip) * (1 - recovery) / (1 - np.cos(flip) * recovery) * np.exp(-sequence.echo_ms * 2 / t2)
    magnitude = magnitude * tissues.proton_density * np.exp(-sequence.b_value * tissues.adc * 1e-3)
    magnitude[Tissue.FAT] *= sequence.fat_left
    magnitude[Tissue.MARROW] *= 0.6 + 0.4 * sequence.fat_left  # red marrow of children is 40 % fat
    return magnitude


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], coarse: tuple[int, ...]) -> np.ndarray:
    """Return a smooth random field of unit variance.

    Args:
        rng: for the normal numbers.
        shape: of the field; two or three axes.
        coarse: shape of the grid of normal numbers, which are interpolated to ``shape``.

    Returns:
        float32 of shape ``shape``.
    """
    field = rng.standard_normal(coarse, dtype=np.float32)
    for axis, size in enumerate(shape):
        place = np.linspace(0, coarse[axis] - 1, size)
        low = np.minimum(place.astype(int), coarse[axis] - 2)
        weight = (place - low).astype(np.float32)
        weight = (weight * weight * (3 - 2 * weight)).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        first, second = np.take(field, low, axis), np.take(field, low + 1, axis)
        field = first + weight * (second - first)
    return field / max(float(field.std()), 1e-6)


def bias_field(rng: np.random.Generator, shape: tuple[int, int, int], strength: float) -> np.ndarray:
    """Return an uneven coil sensitivity about 1, the exponential of a field of second order.

    Args:
        rng: for the coefficients.
        shape: (slices, rows, columns).
        strength: standard deviation of the coefficients.

    Returns:
        float32 of this shape.
    """
    exponent = np.zeros(shape, np.float32)
    for axis, size in enumerate(shape):
        place = np.linspace(-1, 1, size, dtype=np.float32)
        linear, square = rng.normal(0, strength, 2)
        term = linear * place + square * (place**2 - 1 / 3)
        exponent += term.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    return np.exp(exponent)


def add_ghosts(images: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Add the ghosts of breathing: faint copies along the phase direction, whose strength varies by slice.

    The phase direction is that of the row index. A periodic motion gives copies at multiples of (field of view x
    breathing rate x TR); see Wood and Henkelman 1985.
    """
    shift = int(images.shape[1] * rng.uniform(0.08, 0.3))
    ghosted = images.copy()
    for order, share in ((1, 1.0), (2, 0.4)):
        for sign in (-1, 1):
            weight = strength * share * np.abs(rng.normal(0, 1, len(images))).astype(np.float32)
            ghosted += weight[:, None, None] * np.roll(images, sign * order * shift, axis=1)
    return ghosted


def add_rician_noise(images: np.ndarray, rng: np.random.Generator, deviation: float) -> np.ndarray:
    """Return the magnitude after normal noise in the real and in the imaginary part (Gudbjartsson and Patz 1995)."""
    real = rng.standard_normal(images.shape, dtype=np.float32)
    real *= deviation
    real += images
    imaginary = rng.standard_normal(images.shape, dtype=np.float32)
    imaginary *= deviation
    return cv2.magnitude(real.ravel(), imaginary.ravel()).reshape(images.shape)


def blur(images: np.ndarray, sigma: tuple[float, float]) -> np.ndarray:
    """Blur images in place by the point spread in plane, a Gaussian of ``sigma`` (rows, columns) pixels."""
    for image in images:
        cv2.GaussianBlur(image, (0, 0), sigmaX=sigma[1], sigmaY=sigma[0], dst=image, borderType=cv2.BORDER_REFLECT)
    return images
