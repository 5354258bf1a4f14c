"""A child's trunk from pelvis to neck as a volume of tissue labels.

One table of organs serves all ages, as places and radii are relative to the body (see `canvas`). Each patient then
draws sizes, places and shapes of organs.
"""

from dataclasses import dataclass

import numpy as np

from nbcad.datasets.phantom.canvas import Canvas
from nbcad.datasets.phantom.child import Child, Levels
from nbcad.datasets.phantom.physics import Tissue

T = Tissue
BODY = tuple(t for t in Tissue if t != T.AIR)
VISCERAL = (T.FAT, T.SOFT_TISSUE, T.BOWEL_WALL, T.BOWEL_FLUID, T.BOWEL_MIXED, T.GAS)


@dataclass
class Anatomy:
    """Labels on a grid, whose voxel (i, j, k) has its centre at ``origin + step * (i, j, k)``."""

    child: Child
    levels: Levels
    labels: np.ndarray  # Tissue, uint8, shape (z, y, x)
    lesions: np.ndarray  # number of the lesion, 0 where there is none; uint8, same shape
    origin: np.ndarray  # mm, (z, y, x)
    step: np.ndarray  # mm, (z, y, x)
    lesion_names: list[str]  # of lesion 1, 2, ...


def build(child: Child, rng: np.random.Generator) -> tuple[Canvas, Levels]:
    """Paint one child's healthy anatomy.

    Returns:
        The canvas with its labels, and the levels of the regions.
    """
    levels = Levels.of_patient(rng)
    arms = bool(rng.random() < 0.45)
    canvas = Canvas(child, rng, arms)
    _body(canvas, levels)
    if arms:
        _arms(canvas)
    _thorax(canvas, levels)
    _bowel(canvas, levels)
    _upper_abdomen(canvas, levels)
    for side in (-1, 1):
        _kidney(canvas, levels, side)
        _adrenal(canvas, levels, side)
    _pelvis(canvas)
    _spine(canvas)
    _vessels(canvas, levels)
    _nodes(canvas)
    return canvas, levels


def _body(canvas: Canvas, levels: Levels) -> None:
    """Paint skin, fat, muscle and ribs, and inside them lung above the diaphragm and visceral fat below."""
    child, rng = canvas.child, canvas.rng
    x, y, z = canvas.x, canvas.y, canvas.z
    heights = (-0.1, 0.0, 0.1, 0.2, 0.33, 0.5, 0.7, 0.85, 0.92, 0.97, 1.1)
    waist = rng.uniform(0.86, 0.98)
    widths = (0.95, 0.98, 1.0, 0.97, waist, 0.97, 1.0, 0.97, 0.86, 0.6, 0.48)
    depths = (0.85, 0.9, 0.95, 0.93, rng.uniform(0.88, 1.05), 0.98, 1.0, 0.9, 0.78, 0.62, 0.55)
    level = canvas.axes[0]
    width, depth = (np.interp(level, heights, v).astype(np.float32)[:, None, None] for v in (widths, depths))
    across, along = (x / width) ** 2, (y / depth) ** 2
    squareness = np.float32(rng.uniform(0.25, 0.5))
    radius = np.sqrt(np.maximum(across + along - squareness * across * along, 0))
    radius[(across > 1) | (along > 1)] = 2
    below_skin = (1 - radius) * np.float32(0.5 * (child.half_width + child.half_depth))  # mm, about
    fat = child.fat * np.interp(level, heights, (1.6, 1.6, 1.4, 1.2, 1, 0.8, 0.7, 0.8, 1, 1.1, 1.1))[:, None, None]
    wall = child.wall * np.interp(level, heights, (3, 3, 2.6, 1.8, 1, 1.0, 1.1, 1.4, 2, 3, 3))[:, None, None]
    labels = canvas.labels
    labels[below_skin > 0] = T.SKIN
    labels[below_skin > 1.2] = T.FAT
    labels[below_skin > fat] = T.MUSCLE
    cavity = below_skin > fat + wall
    labels[cavity] = T.FAT
    right, left = levels.dome, levels.dome - rng.uniform(0.0, 0.02)
    fall = rng.uniform(0.09, 0.14)
    dome = np.maximum(right - 0.1 * ((x + 0.45) / 0.5) ** 2, left - 0.1 * ((x - 0.45) / 0.5) ** 2)
    dome -= fall * np.maximum(y + 0.1, 0) ** 2 + 0.05 * np.minimum(y + 0.1, 0) ** 2
    labels[cavity & (z > dome) & (z < 0.93)] = T.LUNG
    labels[cavity & (z >= 0.93)] = T.MUSCLE
    spacing = rng.uniform(0.046, 0.056)
    phase = np.sin((z + 0.05 * y + 0.02 * np.abs(x)) * np.float32(2 * np.pi / spacing))
    in_wall = (below_skin > fat + 0.25 * wall) & (below_skin < fat + 0.85 * wall) & (z > 0.43) & (z < 0.9)
    labels[in_wall & (phase > 0.25)] = T.CORTICAL_BONE
    labels[in_wall & (phase > 0.6)] = T.MARROW


def _arms(canvas: Canvas) -> None:
    """Paint the arms beside the trunk, from the fat inwards."""
    layers = ((1.0, T.FAT), (0.8, T.MUSCLE), (0.33, T.CORTICAL_BONE), (0.22, T.MARROW))
    for side in (-1, 1):
        centre, radii = canvas.vary((0.35, 0.05, side * 1.25), (0.6, 0.3, 0.17), 0.03)
        box = canvas.box(centre, radii)
        free = canvas.labels[box] == T.AIR
        for size, tissue in layers:
            canvas.put(box, canvas.inside(box, centre, radii * size) & free, tissue)


def _thorax(canvas: Canvas, levels: Levels) -> None:
    """Paint mediastinum, heart, thymus, the lungs' vessels, trachea and oesophagus."""
    child, rng = canvas.child, canvas.rng
    lung = (T.LUNG,)
    middle, radii = canvas.vary((0.75, 0.1, 0.0), (0.22, 0.8, 0.19), 0.02)
    canvas.ellipsoid(middle, radii, T.SOFT_TISSUE, lung, 0.3)
    heart, radii = canvas.vary((levels.dome + 0.075, -0.25, 0.18), (0.085, 0.42, 0.42), 0.04)
    canvas.ellipsoid(heart, radii * 1.05, T.FAT, (T.LUNG, T.SOFT_TISSUE), 0.1)
    canvas.ellipsoid(heart, radii, T.HEART_WALL, BODY, 0.1, tilt=-1.0)
    canvas.ellipsoid(heart + (0.0, 0.06, 0.06), radii * 0.48, T.HEART_BLOOD)
    canvas.ellipsoid(heart + (0.03, -0.04, -0.2), radii * 0.42, T.HEART_BLOOD)
    thymus = float(np.interp(child.age_months, (0, 24, 72, 144), (1.3, 1.15, 0.8, 0.5))) * rng.uniform(0.8, 1.2)
    centre, radii = canvas.vary((0.8, -0.5, 0.02), (0.07 * thymus, 0.2 * thymus, 0.32 * thymus))
    canvas.ellipsoid(centre, radii, T.THYMUS, (T.LUNG, T.SOFT_TISSUE, T.FAT), 0.3)
    size = child.half_width
    for side in (-1, 1):  # vessels of the lung's hilum, fanning out
        for _ in range(5):
            end = np.array([0.72 + rng.uniform(-0.1, 0.14), rng.uniform(-0.3, 0.5), side * rng.uniform(0.4, 0.7)])
            points = np.linspace((0.74, 0.1, side * 0.12), end, 4)
            canvas.tube(points[np.argsort(points[:, 0])], 0.025 * size, T.VEIN, lung)
    trachea = [(0.74, 0.12, 0.0), (0.84, 0.05, 0.0), (1.1, -0.1, 0.0)]
    canvas.tube(trachea, 0.065 * size, T.CORTICAL_BONE)  # cartilage is as dark
    canvas.tube(trachea, 0.05 * size, T.GAS)
    canvas.tube([(0.53, 0.3, 0.1), (0.8, 0.25, 0.05), (1.1, 0.1, 0.04)], 0.05 * size, T.BOWEL_WALL)


def _upper_abdomen(canvas: Canvas, levels: Levels) -> None:
    """Paint the liver with its vessels, gall bladder, spleen, stomach and pancreas."""
    rng, top = canvas.rng, levels.dome
    height = (top - levels.kidneys) / 2 + 0.014  # so that the lower edge lies a little below the adrenal level
    centre, radii = canvas.vary((top - height, -0.05, -0.4), (height, 0.82, 0.56), 0.03, 0.08)
    canvas.ellipsoid(centre, radii, T.LIVER, VISCERAL, 0.08)
    lobe, lobe_radii = canvas.vary((top - 0.06, -0.45, 0.12), (0.06, 0.35, 0.45), 0.05, 0.15)
    canvas.ellipsoid(lobe, lobe_radii, T.LIVER, VISCERAL, 0.1)
    for _ in range(9):
        start = np.array([top - 0.06, 0.1, -0.12])
        end = centre + radii * rng.uniform(-0.7, 0.7, 3)
        points = np.linspace(start, end, 4) + rng.normal(0, 0.03, (4, 3)) * (0.3, 1, 1)
        points = points[np.argsort(points[:, 0])]
        tissue = T.VEIN if rng.random() < 0.6 else T.ARTERY
        canvas.tube(points, rng.uniform(0.018, 0.035) * canvas.child.half_width, tissue, (T.LIVER,))
    gall_bladder, radii = canvas.vary((top - 0.13, -0.38, -0.32), (0.03, 0.2, 0.09), 0.05, 0.2)
    canvas.ellipsoid(gall_bladder, radii, T.BILE, (*VISCERAL, T.LIVER))
    spleen, radii = canvas.vary((top - 0.075, 0.35, 0.66), (0.075, 0.38, 0.2), 0.03, 0.15)
    canvas.ellipsoid(spleen, radii, T.SPLEEN, VISCERAL, 0.1, tilt=1.0)
    stomach, radii = canvas.vary((top - 0.085, -0.2, 0.4), (0.07, 0.38, 0.26), 0.06, 0.2)
    canvas.ellipsoid(stomach, radii, T.BOWEL_WALL, VISCERAL, 0.15, tilt=1.0)
    content = (T.STOMACH_CONTENT, T.BOWEL_FLUID, T.BOWEL_MIXED)[int(rng.integers(3))]
    canvas.ellipsoid(stomach, radii * 0.85, content, (T.BOWEL_WALL,), 0.15, tilt=1.0)
    canvas.ellipsoid(stomach - (0, 0.2, 0), radii * (0.5, 0.35, 0.6), T.GAS, (content,))
    for lateral in np.linspace(-0.2, 0.5, 8):  # lobules of the pancreas, a string from its head to its tail
        place = (top - 0.15 + 0.03 * lateral, -0.05 + 0.3 * abs(lateral), lateral)
        centre, radii = canvas.vary(place, (0.018, 0.09, 0.08), 0.02)
        canvas.ellipsoid(centre, radii, T.PANCREAS, VISCERAL, 0.3)


def _kidney(canvas: Canvas, levels: Levels, side: int) -> None:
    """Paint one kidney (-1 right, 1 left) in its fat: cortex, pyramids and a more or less filled pelvis."""
    rng = canvas.rng
    height = levels.kidneys - 0.055 + (0.012 if side > 0 else -0.008)  # the left one lies higher
    centre, radii = canvas.vary((height, 0.36, side * 0.44), (0.08, 0.27, 0.19), 0.03, 0.1)
    tilt = -side * rng.uniform(0.5, 1.5)
    soft = (*VISCERAL, T.LIVER, T.SPLEEN, T.MUSCLE)
    canvas.ellipsoid(centre, radii * 1.15, T.FAT, soft, 0.05, tilt)
    canvas.ellipsoid(centre, radii, T.KIDNEY_CORTEX, soft, 0.05, tilt)
    for _ in range(11):  # pyramids
        direction = rng.normal(0, 1, 3)
        direction *= 0.62 / np.linalg.norm(direction)
        place = centre + direction * radii + (0, 0, tilt * direction[0] * radii[0])
        canvas.ellipsoid(place, radii * 0.24, T.KIDNEY_MEDULLA, (T.KIDNEY_CORTEX,))
    hilum = centre + (0, -0.06, -side * 0.06)
    canvas.ellipsoid(hilum, radii * (0.45, 0.35, 0.5), T.FAT, (T.KIDNEY_CORTEX, T.KIDNEY_MEDULLA))
    canvas.ellipsoid(hilum, radii * 0.26 * rng.uniform(0.7, 1.6), T.URINE, (T.FAT, T.KIDNEY_CORTEX))


def _adrenal(canvas: Canvas, levels: Levels, side: int) -> None:
    """Paint one adrenal gland (-1 right, 1 left) in its fat: two thin limbs."""
    gland = np.array([levels.kidneys + 0.065, 0.27, side * 0.3]) + canvas.rng.normal(0, 0.02, 3) * (0.3, 1, 1)
    thick = 2.2 / canvas.child.half_width  # mm
    soft = (*VISCERAL, T.LIVER, T.MUSCLE)
    canvas.ellipsoid(gland, (0.04, 0.2, 0.1), T.FAT, soft)
    canvas.ellipsoid(gland, (0.028, 0.16, thick), T.ADRENAL, soft, tilt=side * 0.5)
    canvas.ellipsoid(gland + (-0.005, 0.06, side * 0.05), (0.026, thick * 1.2, 0.09), T.ADRENAL, soft)


def _bowel(canvas: Canvas, levels: Levels) -> None:
    """Paint loops of small bowel below the adrenals, each with its own content, and then the colon."""
    child, rng = canvas.child, canvas.rng
    contents = (T.BOWEL_FLUID, T.GAS, T.BOWEL_MIXED, T.BOWEL_WALL)
    shares = rng.dirichlet((26, 22, 14, 8))
    low, high = np.array([0.1, -0.76, -0.68]), np.array([levels.kidneys - 0.018, 0.15, 0.68])
    place = (low + high) / 2
    for _ in range(int(rng.integers(220, 280))):
        place = place + rng.normal(0, 1, 3) * (0.05, 0.2, 0.2)
        bent = (place < low) | (place > high)
        place[bent] = rng.uniform(low, high)[bent]
        radius = rng.uniform(0.08, 0.12) * child.half_width
        radii = radius / canvas.scale * np.exp(rng.normal(0, 0.2, 3))
        canvas.ellipsoid(place, radii, T.BOWEL_WALL, (T.FAT,), 0.2)
        content = contents[int(rng.choice(4, p=shares))]
        canvas.ellipsoid(place, radii - 1.2 / canvas.scale, content, (T.BOWEL_WALL,), 0.2)
    for points in (((0.1, 0.1, -0.62), (0.42, 0.0, -0.6)), ((0.1, 0.2, 0.6), (0.46, 0.25, 0.66))):
        for part in np.linspace(*points, 14):  # haustra of the ascending and the descending colon
            centre, radii = canvas.vary(part, (0.02, 0.17, 0.13), 0.02, 0.15)
            canvas.ellipsoid(centre, radii, T.BOWEL_WALL, (T.FAT, T.BOWEL_WALL), 0.2)
            content = (T.BOWEL_MIXED, T.BOWEL_MIXED, T.GAS, T.BOWEL_FLUID)[int(rng.integers(4))]
            canvas.ellipsoid(centre, radii * 0.8, content, (T.BOWEL_WALL,), 0.2)


def _pelvis(canvas: Canvas) -> None:
    """Paint bladder, rectum, bones of the pelvis and the hips, and iliopsoas."""
    rng, size = canvas.rng, canvas.child.half_width
    full = rng.uniform(0.7, 1.5)
    centre, radii = canvas.vary((0.055 + 0.02 * full, -0.35, 0.0), (0.045, 0.3, 0.32), 0.02, 0.1)
    canvas.ellipsoid(centre, radii * full + 0.02, T.BOWEL_WALL, (*VISCERAL, T.MUSCLE), 0.05)
    canvas.ellipsoid(centre, radii * full, T.URINE, None, 0.05)
    rectum = [(0.0, 0.3, 0.0), (0.08, 0.35, 0.05), (0.15, 0.25, 0.1)]
    canvas.tube(rectum, 0.13 * size, T.BOWEL_WALL, VISCERAL)
    canvas.tube(rectum, 0.1 * size, T.BOWEL_MIXED, (T.BOWEL_WALL,))
    for side in (-1, 1):
        for height, lateral, reach in ((0.175, 0.58, (0.075, 0.38, 0.085)), (0.09, 0.55, (0.06, 0.25, 0.11))):
            place = (height, 0.22, side * lateral)
            canvas.ellipsoid(place, reach, T.CORTICAL_BONE, (T.FAT, T.MUSCLE), 0.1, tilt=side * 1.2)
            canvas.ellipsoid(place, np.array(reach) * 0.84, T.MARROW, (T.CORTICAL_BONE,), 0.1, tilt=side * 1.2)
        canvas.ellipsoid((0.04, 0.0, side * 0.6), (0.042, 0.2, 0.15), T.CORTICAL_BONE, (T.FAT, T.MUSCLE))
        canvas.ellipsoid((0.04, 0.0, side * 0.6), (0.036, 0.17, 0.125), T.MARROW, (T.CORTICAL_BONE,))
        canvas.ellipsoid((0.17, 0.05, side * 0.4), (0.09, 0.3, 0.12), T.MUSCLE, VISCERAL)


def _spine(canvas: Canvas) -> None:
    """Paint psoas and back muscles, vertebrae, discs and arches, and the canal with the cord and its roots."""
    rng = canvas.rng
    level = canvas.axes[0]
    bend = np.array([0.62, 0.5, 0.42, 0.5, 0.56, 0.45, 0.3]) + rng.normal(0, 0.015)
    middle = np.interp(level, (0.0, 0.15, 0.3, 0.5, 0.72, 0.9, 1.1), bend)[:, None, None].astype(np.float32)
    y, x, z = canvas.y - middle, canvas.x, canvas.z
    for side in (-1, 1):  # psoas and the muscles of the back
        tall = (z > 0.12) & (z < 0.43)
        psoas = ((x - side * 0.24) / 0.13) ** 2 + ((y + 0.02) / 0.18) ** 2 < 1
        canvas.put((), psoas & tall, T.MUSCLE, VISCERAL)
        back = ((x - side * 0.25) / 0.24) ** 2 + ((y - 0.36) / 0.2) ** 2 < 1
        canvas.put((), back & (z > 0.02), T.MUSCLE, (*VISCERAL, T.LUNG))
    wide = 0.17 * rng.uniform(0.92, 1.1)
    body = (x / wide) ** 2 + (y / 0.2) ** 2 < 1
    inner = (x / (wide - 0.02)) ** 2 + (y / 0.175) ** 2 < 1
    canvas.put((), body, T.CORTICAL_BONE)
    canvas.put((), inner, T.MARROW)
    spacing = rng.uniform(0.05, 0.058)
    phase = np.sin((z + 0.02 * y) * np.float32(2 * np.pi / spacing))
    canvas.put((), inner & (phase > 0.72), T.DISC)
    arch = ((x / 0.2) ** 2 + ((y - 0.3) / 0.2) ** 2 < 1) & (phase < 0.4)
    canvas.put((), arch, T.CORTICAL_BONE, (T.MUSCLE, T.FAT, T.LUNG))
    process = (np.abs(x) < 0.035) & (y > 0.3) & (y < 0.55) & (phase < 0.0)
    canvas.put((), process, T.MARROW, (T.MUSCLE, T.FAT))
    canal = 0.095 * rng.uniform(0.9, 1.15)
    canvas.put((), (x / canal) ** 2 + ((y - 0.29) / 0.105) ** 2 < 1, T.CSF)
    cord = (x / 0.055) ** 2 + ((y - 0.28) / 0.055) ** 2 < 1
    canvas.put((), cord & (z > 0.42), T.CORD)
    roots = ((np.abs(x) - 0.04) / 0.015) ** 2 + ((y - 0.33) / 0.03) ** 2 < 1
    canvas.put((), roots & (z <= 0.42) & (z > 0.2), T.CORD, (T.CSF,))


def _vessels(canvas: Canvas, levels: Levels) -> None:
    """Paint aorta and venae cavae with their great branches."""
    size = canvas.child.half_width
    shift = canvas.rng.normal(0, 0.015, 2)
    aorta = np.array([(0.24, 0.13, 0.04), (0.5, 0.22, 0.06), (0.7, 0.3, 0.14), (0.83, 0.15, 0.12)])
    aorta[:, 2] += shift[0]
    cava = np.array([(0.24, 0.16, -0.1), (0.45, 0.12, -0.13), (levels.dome + 0.03, -0.05, -0.16)])
    cava[:, 2] += shift[1]
    canvas.tube(aorta, 0.062 * size, T.ARTERY)
    canvas.tube(cava, 0.07 * size, T.VEIN)
    canvas.tube([(0.72, -0.1, -0.15), (0.95, -0.05, -0.17)], 0.055 * size, T.VEIN)
    canvas.tube([(0.72, -0.25, 0.0), (0.83, -0.1, -0.05), (1.0, -0.05, -0.12)], 0.06 * size, T.ARTERY)
    for side in (-1, 1):
        canvas.tube(
            [(0.02, -0.45, side * 0.4), (0.12, -0.1, side * 0.3), (0.25, 0.13, side * 0.05)], 0.045 * size, T.ARTERY
        )
        canvas.tube([(0.02, -0.35, side * 0.36), (0.12, 0.0, side * 0.26), (0.25, 0.16, -0.08)], 0.05 * size, T.VEIN)
        canvas.tube([(0.83, 0.0, side * 0.1), (1.1, 0.0, side * 0.25)], 0.035 * size, T.ARTERY)
        kidney = levels.kidneys - 0.03
        canvas.ellipsoid((kidney, 0.24, side * 0.22), (0.008, 0.05, 0.14), T.VEIN, VISCERAL)


def _nodes(canvas: Canvas) -> None:
    """Paint normal lymph nodes, 3 to 7 mm across and thus smaller than any lesion."""
    rng = canvas.rng
    for _ in range(28):
        height = rng.uniform(0.05, 0.95)
        place = np.array([height, rng.uniform(-0.4, 0.3), rng.uniform(-0.5, 0.5)])
        radii = rng.uniform(1.5, 3.5, 3) / canvas.scale
        canvas.ellipsoid(place, radii, T.NODE, (*VISCERAL, T.MUSCLE))
