"""The phantom's scanners: what differs from vendor to vendor, and the protocol that a study follows."""

from dataclasses import dataclass

import numpy as np

from nbcad.phantom.physics import GRE, SPIN_ECHO, Sequence

Range = tuple[float, float]


@dataclass(frozen=True)
class Scanner:
    """One model of scanner with its usual protocol; ranges are drawn from for each study."""

    manufacturer: str  # (0008,0070)
    model: str  # (0008,1090)
    field_tesla: float  # (0018,0087)
    t2_repetition_ms: Range
    t2_echo_ms: Range
    fat_left: Range  # what fat suppression leaves of fat's signal in the T2
    t2_name: str
    t1: Sequence
    t1_name: str
    dwi_echo_ms: Range
    matrix: tuple[int, int, int]  # T2, T1, DWI; reconstructed
    noise: Range  # standard deviation, relative to bright tissue
    bias: float
    ghosts: Range
    top: Range  # stored value of bright tissue
    bits_stored: int
    signed: bool
    rescale_slope: float | None  # (0028,1053), where the vendor writes one
    variant: str  # (0018,0021) of the T2


SCANNERS = {
    "siemens": Scanner(
        "SIEMENS", "Avanto", 1.5, (3500, 5500), (82, 104), (0.08, 0.25), "t2_tse_tra_fs", Sequence(SPIN_ECHO, 520, 11),
        "t1_se_tra", (72, 84), (224, 192, 112), (0.012, 0.03), 0.16, (0.01, 0.03), (350, 700), 12, False, None, "SK",
    ),
    "ge": Scanner(
        "GE MEDICAL SYSTEMS", "Optima MR450w", 1.5, (4000, 7500), (78, 96), (0.05, 0.2), "Ax T2 FRFSE FS",
        Sequence(GRE, 180, 4.2, 80), "Ax T1 FSPGR", (62, 76), (256, 192, 128), (0.015, 0.035), 0.22, (0.01, 0.035),
        (1200, 4500), 16, True, None, "SK",
    ),
    "philips": Scanner(
        "Philips Medical Systems", "Ingenia", 3.0, (2400, 4200), (70, 92), (0.08, 0.25), "T2W_TSE_SPIR_tra",
        Sequence(GRE, 140, 2.3, 60), "T1W_FFE_tra", (58, 72), (240, 192, 112), (0.01, 0.025), 0.28, (0.005, 0.025),
        (500, 1400), 12, False, 1.7, "SK",
    ),
    "canon": Scanner(
        "TOSHIBA", "Vantage Titan", 1.5, (3800, 6500), (80, 110), (0.1, 0.3), "T2 FSE2D FATSAT AX",
        Sequence(SPIN_ECHO, 600, 12),
        "T1 SE AX", (75, 90), (208, 192, 96), (0.02, 0.04), 0.2, (0.015, 0.04), (3000, 9000), 16, True, None, "SK",
    ),
    "uih": Scanner(
        "UIH", "uMR 790", 3.0, (3000, 5000), (76, 98), (0.06, 0.25), "t2_fse_tra_fs", Sequence(GRE, 160, 2.5, 65),
        "t1_gre_tra", (60, 74), (224, 192, 128), (0.01, 0.025), 0.25, (0.005, 0.03), (800, 2200), 12, False, None, "SK",
    ),
}  # fmt: skip

ALL = tuple(SCANNERS)


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


def protocols(scanner: Scanner, chance: np.random.Generator) -> list[Protocol]:
    """The series of one study: axial T2, axial T1, diffusion with b 0 and with b 1000 s/mm2."""
    noise, ghosts = chance.uniform(*scanner.noise), chance.uniform(*scanner.ghosts)
    t2 = Sequence(
        SPIN_ECHO,
        round(chance.uniform(*scanner.t2_repetition_ms), -1),
        round(chance.uniform(*scanner.t2_echo_ms)),
        fat_left=chance.uniform(*scanner.fat_left),
    )
    diffusion_repetition = round(chance.uniform(4500, 8000), -2)
    diffusion_echo = round(chance.uniform(*scanner.dwi_echo_ms))
    name = "ep2d_diff_tra" if scanner.manufacturer == "SIEMENS" else "DWI AX"
    found = [
        Protocol(scanner.t2_name, "T2", t2, scanner.matrix[0], 0.6, noise, ghosts),
        Protocol(scanner.t1_name, "T1", scanner.t1, scanner.matrix[1], 0.6, noise * 0.9, ghosts * 1.2),
    ]
    for b_value in (0.0, 1000.0):
        sequence = Sequence(SPIN_ECHO, diffusion_repetition, diffusion_echo, 90.0, b_value, 0.12)
        found.append(
            Protocol(f"{name}_b{b_value:.0f}", "DWI", sequence, scanner.matrix[2], 0.8, noise * 1.5, ghosts * 0.5)
        )
    return found
