"""The phantom's scanners, which differ from vendor to vendor, and the protocol of a study."""

from dataclasses import dataclass

import numpy as np

from nbcad.datasets import VENDORS
from nbcad.datasets.phantom.physics import GRE, SPIN_ECHO, Sequence

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """One model of scanner with its usual protocol; each study draws from the ranges."""

    manufacturer: str  # (0008,0070)
    model: str  # (0008,1090)
    field_tesla: float  # (0018,0087)
    t2_repetition_ms: Range
    t2_echo_ms: Range
    fat_left: Range  # share of fat's signal that fat suppression leaves in the T2
    t2_name: str
    t1: Sequence
    t1_name: str
    dwi_echo_ms: Range
    dwi_name: str  # without its b-value
    matrix: tuple[int, int, int]  # T2, T1, DWI; reconstructed
    noise: Range  # standard deviation, relative to bright tissue
    bias: float  # spread of the coil's sensitivity, see `physics.bias_field`
    ghosts: Range
    top: Range  # stored value of bright tissue
    bits_stored: int
    signed: bool
    rescale_slope: float | None = None  # (0028,1053), where the vendor writes one


SCANNERS = {
    "siemens": Scanner(
        manufacturer="SIEMENS", model="Avanto", field_tesla=1.5,
        t2_name="t2_tse_tra_fs", t2_repetition_ms=(3500, 5500), t2_echo_ms=(82, 104), fat_left=(0.08, 0.25),
        t1_name="t1_se_tra", t1=Sequence(SPIN_ECHO, 520, 11),
        dwi_name="ep2d_diff_tra", dwi_echo_ms=(72, 84),
        matrix=(224, 192, 112), noise=(0.012, 0.03), bias=0.16, ghosts=(0.01, 0.03),
        top=(350, 700), bits_stored=12, signed=False,
    ),
    "ge": Scanner(
        manufacturer="GE MEDICAL SYSTEMS", model="Optima MR450w", field_tesla=1.5,
        t2_name="Ax T2 FRFSE FS", t2_repetition_ms=(4000, 7500), t2_echo_ms=(78, 96), fat_left=(0.05, 0.2),
        t1_name="Ax T1 FSPGR", t1=Sequence(GRE, 180, 4.2, 80),
        dwi_name="DWI AX", dwi_echo_ms=(62, 76),
        matrix=(256, 192, 128), noise=(0.015, 0.035), bias=0.22, ghosts=(0.01, 0.035),
        top=(1200, 4500), bits_stored=16, signed=True,
    ),
    "philips": Scanner(
        manufacturer="Philips Medical Systems", model="Ingenia", field_tesla=3.0,
        t2_name="T2W_TSE_SPIR_tra", t2_repetition_ms=(2400, 4200), t2_echo_ms=(70, 92), fat_left=(0.08, 0.25),
        t1_name="T1W_FFE_tra", t1=Sequence(GRE, 140, 2.3, 60),
        dwi_name="DWI AX", dwi_echo_ms=(58, 72),
        matrix=(240, 192, 112), noise=(0.01, 0.025), bias=0.28, ghosts=(0.005, 0.025),
        top=(500, 1400), bits_stored=12, signed=False, rescale_slope=1.7,
    ),
    "canon": Scanner(
        manufacturer="TOSHIBA", model="Vantage Titan", field_tesla=1.5,
        t2_name="T2 FSE2D FATSAT AX", t2_repetition_ms=(3800, 6500), t2_echo_ms=(80, 110), fat_left=(0.1, 0.3),
        t1_name="T1 SE AX", t1=Sequence(SPIN_ECHO, 600, 12),
        dwi_name="DWI AX", dwi_echo_ms=(75, 90),
        matrix=(208, 192, 96), noise=(0.02, 0.04), bias=0.2, ghosts=(0.015, 0.04),
        top=(3000, 9000), bits_stored=16, signed=True,
    ),
    "uih": Scanner(
        manufacturer="UIH", model="uMR 790", field_tesla=3.0,
        t2_name="t2_fse_tra_fs", t2_repetition_ms=(3000, 5000), t2_echo_ms=(76, 98), fat_left=(0.06, 0.25),
        t1_name="t1_gre_tra", t1=Sequence(GRE, 160, 2.5, 65),
        dwi_name="DWI AX", dwi_echo_ms=(60, 74),
        matrix=(224, 192, 128), noise=(0.01, 0.025), bias=0.25, ghosts=(0.005, 0.03),
        top=(800, 2200), bits_stored=12, signed=False,
    ),
}  # fmt: skip

assert tuple(SCANNERS) == VENDORS


@dataclass(frozen=True)
class Protocol:
    """One series to be acquired."""

    description: str  # (0008,103E)
    contrast: str  # "T2", "T1" or "DWI"
    sequence: Sequence
    matrix: int
    blur_pixels: float
    noise: float
    ghosts: float


def protocols(scanner: Scanner, rng: np.random.Generator) -> list[Protocol]:
    """Return the series of one study: axial T2, axial T1, diffusion with b 0 and with b 1000 s/mm2."""
    noise, ghosts = rng.uniform(*scanner.noise), rng.uniform(*scanner.ghosts)
    t2 = Sequence(
        SPIN_ECHO,
        round(rng.uniform(*scanner.t2_repetition_ms), -1),
        round(rng.uniform(*scanner.t2_echo_ms)),
        fat_left=rng.uniform(*scanner.fat_left),
    )
    diffusion_repetition = round(rng.uniform(4500, 8000), -2)
    diffusion_echo = round(rng.uniform(*scanner.dwi_echo_ms))
    # The T1 has a little less noise and more motion than the T2. Diffusion is noisy, but a single shot hardly ghosts.
    series = [
        Protocol(scanner.t2_name, "T2", t2, scanner.matrix[0], 0.6, noise, ghosts),
        Protocol(scanner.t1_name, "T1", scanner.t1, scanner.matrix[1], 0.6, noise * 0.9, ghosts * 1.2),
    ]
    for b_value in (0.0, 1000.0):
        sequence = Sequence(SPIN_ECHO, diffusion_repetition, diffusion_echo, b_value=b_value, fat_left=0.12)
        name = f"{scanner.dwi_name}_b{b_value:.0f}"
        series.append(Protocol(name, "DWI", sequence, scanner.matrix[2], 0.8, noise * 1.5, ghosts * 0.5))
    return series
