"""Acquisition of the images of a study: geometry of the scan, then signal, artefacts and noise of each series."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from nbcad.datasets.phantom import physics
from nbcad.datasets.phantom.anatomy import Anatomy
from nbcad.datasets.phantom.physics import Tissues
from nbcad.datasets.phantom.scanners import Protocol, Scanner

MIN_LESION_PIXELS = 6  # a smaller cross-section is not annotated
MIN_LESION_MM2 = 40.0  # 7 mm across; a reader would take a smaller one for noise


@dataclass(frozen=True)
class Scan:
    """The position of the patient and of the slices, shared by all series of a study."""

    patient_to_anatomy: np.ndarray  # (3, 3) rotation; axes x, y, z
    offset: np.ndarray  # (3,) patient coordinates of the anatomy's origin, mm (DICOM LPS)
    axes: np.ndarray  # (3, 3) rows: unit vectors to left, to posterior, to head, in patient coordinates
    centre: np.ndarray  # (3,) middle of the field of view of the lowest slice
    field_mm: tuple[float, float]  # of view, along posterior and along left
    thickness: float
    spacing: float  # between slices, gap included
    slices: int
    transposed: bool  # columns run to posterior instead of rows
    flips: tuple[bool, bool]  # of the stored rows and columns
    descending: bool  # the first instance is the highest slice
    shuffled: bool  # instance numbers do not follow the position


def plan(anatomy: Anatomy, rng: np.random.Generator, max_slices: int) -> Scan:
    """Plan the slices of one study, from the pelvis to the thorax, at most ``max_slices``."""
    child = anatomy.child
    roll = _rotation(2, np.deg2rad(rng.normal(0, 6))) @ _rotation(1, np.deg2rad(rng.normal(0, 1.5)))
    tilt = _rotation(0, np.deg2rad(rng.normal(0, 3))) @ _rotation(1, np.deg2rad(rng.normal(0, 2)))
    if rng.random() < 0.25:
        tilt = np.eye(3)
    offset = rng.normal(0, 1, 3) * (12, 15, 60) - (0, 0, child.trunk * 0.5)
    low, high = rng.uniform(-0.01, 0.06), rng.uniform(0.86, 0.99)
    thickness = float(np.round(np.interp(child.trunk, (190, 450), (3.6, 6.4)) * rng.uniform(0.9, 1.1) * 2) / 2)
    spacing = thickness * (1 + rng.choice((0.0, 0.1, 0.1, 0.2)))
    length = (high - low) * child.trunk
    slices = int(min(length / spacing + 1, max_slices))
    spacing = max(spacing, length / slices)
    side = 2 * child.half_width * rng.uniform(1.15, 1.65)
    ratio = rng.choice((1.0, 1.0, 0.8125, 0.875))
    start = np.array([0.0, 0.0, low * child.trunk]) + rng.normal(0, 1, 3) * (15, 12, 0)
    return Scan(
        patient_to_anatomy=roll,
        offset=offset,
        axes=tilt.T,
        centre=offset + roll.T @ start,
        field_mm=(float(side * ratio), float(side)),
        thickness=thickness,
        spacing=float(spacing),
        slices=slices,
        transposed=bool(rng.random() < 0.12),
        flips=(bool(rng.random() < 0.2), bool(rng.random() < 0.2)),
        descending=bool(rng.random() < 0.5),
        shuffled=bool(rng.random() < 0.25),
    )


def _rotation(axis: int, angle: float) -> np.ndarray:
    """Return the rotation about an axis by an angle in radians, shape (3, 3)."""
    first, second = [n for n in range(3) if n != axis]
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
    return turn


@dataclass
class Images:
    """One acquired series in canonical order: slices to the head, rows to posterior, columns to left."""

    pixels: np.ndarray  # float32, relative signal, shape (slices, rows, columns)
    lesions: np.ndarray  # uint8, number of the lesion that fills the pixel, same shape
    pixel_mm: float
    corner: np.ndarray  # (3,) patient coordinates of the first pixel's centre in the lowest slice


def acquire(
    anatomy: Anatomy, tissues: Tissues, scan: Scan, scanner: Scanner, protocol: Protocol, rng: np.random.Generator
) -> Images:
    """Acquire one series."""
    pixel = max(scan.field_mm) / protocol.matrix
    shape = (scan.slices, round(scan.field_mm[0] / pixel), round(scan.field_mm[1] / pixel))
    half = np.array([(shape[2] - 1) / 2, (shape[1] - 1) / 2, 0.0]) * pixel
    corner = scan.centre - half @ scan.axes
    strength = physics.signal(tissues, protocol.sequence, scanner.field_tesla).astype(np.float32)
    volume = strength[anatomy.labels]
    volume *= 1 + tissues.grain.astype(np.float32)[anatomy.labels] * _grain(anatomy.labels.shape, rng)
    bend = _distortion(shape, rng) if protocol.contrast == "DWI" else None
    images = np.zeros(shape, np.float32)
    filled = []
    for part in (-0.25, 0.25):  # each half of the thickness is sampled in its middle, and a lesion must fill both
        index = _indices(anatomy, scan, corner + part * scan.thickness * scan.axes[2], shape, pixel, bend)
        images += np.append(volume.ravel(), np.float32(0))[index]
        filled.append(np.append(anatomy.lesions.ravel(), np.uint8(0))[index])
    images /= float(np.percentile(images[:, ::4, ::4], 99))  # bright tissue becomes 1; every fourth pixel suffices
    images = _degrade(images, protocol, scanner, rng)
    return Images(images, np.where(filled[0] == filled[1], filled[0], 0), pixel, corner)


def _grain(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return the grain of tissue, a few voxels wide; its pattern is repeated at a distance, which saves time."""
    tile = rng.standard_normal((32, 64, 64), dtype=np.float32)
    tile = gaussian_filter(tile, (0, 1.2, 1.2), mode="wrap")
    tile /= tile.std()
    repeats = [-(-n // t) for n, t in zip(shape, tile.shape, strict=True)]
    return np.tile(tile, repeats)[: shape[0], : shape[1], : shape[2]]


def _distortion(shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """Return the displacement of echo-planar images along the phase direction, in mm; shape (1, rows, columns)."""
    return 2.5 * physics.smooth_noise(rng, shape[1:], (5, 5))[None]


def _indices(
    anatomy: Anatomy, scan: Scan, corner: np.ndarray, shape: tuple[int, int, int], pixel: float, bend: np.ndarray | None
) -> np.ndarray:
    """Return the flat index of the anatomy's nearest voxel for each pixel; one past the end outside the anatomy.

    Args:
        anatomy: the volume of labels.
        scan: the geometry of the slices.
        corner: patient coordinates of the first pixel's centre in the lowest slice, shape (3,).
        shape: (slices, rows, columns).
        pixel: side of a pixel in mm.
        bend: distance in mm by which a pixel takes its signal from further posterior; broadcasts to ``shape``.
    """
    to_anatomy = scan.patient_to_anatomy
    start = to_anatomy @ (corner - scan.offset)
    steps = [to_anatomy @ (scan.axes[n] * mm) for n, mm in ((2, scan.spacing), (1, pixel), (0, pixel))]
    ravelled = np.zeros(shape, np.int32)
    outside = np.zeros(shape, bool)
    for axis in range(3):  # of the anatomy: z, y, x
        xyz = 2 - axis
        first = (start[xyz] - anatomy.origin[axis]) / anatomy.step[axis] + 0.5
        place: np.ndarray = np.full((1, 1, 1), first, np.float32)
        for along, step in enumerate(steps):
            ramp = np.arange(shape[along], dtype=np.float32) * np.float32(step[xyz] / anatomy.step[axis])
            place = place + ramp.reshape([-1 if n == along else 1 for n in range(3)])
        if bend is not None and axis == 1:
            place = place + bend / np.float32(anatomy.step[axis])
        index = np.floor(place).astype(np.int32)
        size = anatomy.labels.shape[axis]
        outside |= (index < 0) | (index >= size)
        ravelled = ravelled * size + index
    ravelled[outside] = anatomy.labels.size
    return ravelled


def _degrade(images: np.ndarray, protocol: Protocol, scanner: Scanner, rng: np.random.Generator) -> np.ndarray:
    """Add point spread, breathing, coil, slice-to-slice gain and noise, in the order in which they arise."""
    breathing = np.abs(rng.normal(0, 0.35))
    images = physics.blur(images, (protocol.blur_pixels + breathing, protocol.blur_pixels))
    images *= physics.bias_field(rng, images.shape, scanner.bias)
    images *= np.exp(rng.normal(0, 0.025, (len(images), 1, 1))).astype(np.float32)
    images = physics.add_ghosts(images, rng, protocol.ghosts)
    return physics.add_rician_noise(images, rng, protocol.noise)


def lesion_boxes(lesions: np.ndarray, pixel_mm: float) -> list[tuple[int, int, int, int]]:
    """Return the tight boxes (row0, col0, row1, col1; end exclusive) of the lesions in an image of lesion numbers."""
    boxes = []
    for number in np.unique(lesions[lesions > 0]):
        rows, columns = np.nonzero(lesions == number)
        if len(rows) >= max(MIN_LESION_PIXELS, MIN_LESION_MM2 / pixel_mm**2):
            boxes.append((int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1))
    return boxes


def region(anatomy: Anatomy, scan: Scan, number: int) -> str:
    """Return the region of a slice by its height in the middle of the body; empty outside or near a border."""
    point = scan.centre + number * scan.spacing * scan.axes[2]
    height = float((scan.patient_to_anatomy @ (point - scan.offset))[2])
    levels, trunk = anatomy.levels, anatomy.child.trunk
    borders = [v * trunk for v in (levels.brim, levels.kidneys, levels.dome, levels.apex)]
    if min(abs(height - b) for b in borders) < 2 * scan.spacing:
        return ""
    return ("", "retroperitoneum", "adrenal", "thorax", "")[int(np.searchsorted(borders, height))]
