"""Neuroblastoma painted into a child's anatomy, with the look of its INRGSS stage (Monclair et al. 2009).

- L1: small and round, within a capsule.
- L2: large and lobulated, across the midline and round the great vessels (the image-defined risk factors).
- M: a primary with necrosis and bleeding, and distant lesions in bone and lymph nodes.
- MS: an infant's small primary, and a liver full of nodules.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label

from nbcad.datasets.phantom.canvas import Canvas, Triple
from nbcad.datasets.phantom.child import Levels
from nbcad.datasets.phantom.physics import Tissue, smooth_noise

T = Tissue
STAGE_SHARES = {"normal": 0.30, "L1": 0.20, "L2": 0.20, "M": 0.18, "MS": 0.12}
SITE_SHARES = {"adrenal": 0.45, "retroperitoneum": 0.30, "thorax": 0.25}
MS_BELOW_MONTHS = 18  # the definition of MS
_NODULES = 8

_NOT_REPLACED = (T.AIR, T.SKIN, T.CSF, T.CORD, T.ARTERY)  # tumours grow round arteries, not through them


@dataclass(frozen=True)
class Look:
    """Make-up of a lesion; shares are of its volume."""

    dense: float  # cellular islands
    septa: float  # fibrous strands
    necrosis: float
    haemorrhage: float
    capsule_mm: float
    rough: float  # of the surface
    vessels: int = 0  # encased
    grain_mm: float = 3.8  # size of the islands
    core: float = 0.0  # relative radius of a dense core, with which the lesion looks like a target


LOOKS = {
    "L1": Look(0.45, 0.0, 0.0, 0.0, 3.0, 0.10),
    "L2": Look(0.45, 0.15, 0.0, 0.0, 0.0, 0.4, vessels=5),
    "M": Look(0.45, 0.0, 0.16, 0.12, 0.0, 0.25),
    "metastasis": Look(0.45, 0.0, 0.12, 0.06, 0.0, 0.15),
    "MS": Look(0.35, 0.0, 0.0, 0.0, 1.5, 0.15, core=0.4),
}


class Tumours:
    """The lesions painted over a canvas, and the voxels that belong to each."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator):
        self.canvas, self.rng = canvas, rng
        self.lesions = np.zeros(canvas.shape, np.uint8)
        self.names: list[str] = []

    def add(self, name: str, centre: Triple, radii_mm: np.ndarray, look: Look) -> None:
        """Paint one lesion without touching the others.

        Args:
            name: of the lesion.
            centre: relative (z, y, x).
            radii_mm: shape (3,), (z, y, x).
            look: make-up of the lesion.
        """
        canvas, radius_mm = self.canvas, float(np.mean(radii_mm))
        radii = radii_mm / canvas.scale
        box = canvas.box(centre, radii * (1 + 0.5 * look.rough))
        shape = tuple(s.stop - s.start for s in box)
        distance = np.zeros(shape, np.float32)
        for axis, values in enumerate((canvas.z[box], canvas.y[box], canvas.x[box])):
            part = ((values - centre[axis]) / radii[axis]) ** 2
            distance += part * part if axis == 0 else part  # blunt ends: few slices show a mere sliver
        distance = np.sqrt(distance)
        lobes = self._noise(shape, 0.55 * radius_mm).clip(-1.5, 1.5)  # each about half a radius wide
        distance *= 1 + look.rough * 0.45 * lobes
        labels, lesions = canvas.labels[box], self.lesions[box]
        allowed = np.ones(256, bool)
        allowed[list(_NOT_REPLACED)] = False
        inside = _largest_part((distance < 1) & allowed[labels] & (lesions == 0))
        if not inside.any():
            return
        self.names.append(name)
        lesions[inside] = len(self.names)
        labels[inside] = self._texture(distance, look, radius_mm)[inside]
        for _ in range(look.vessels):
            self._encase_vessel(centre, radii)

    def _texture(self, distance: np.ndarray, look: Look, radius_mm: float) -> np.ndarray:
        """Return the tissues of a lesion as labels, uint8 of the shape of ``distance``.

        Args:
            distance: from the centre of the lesion; 1 at its surface.
            look: its make-up.
            radius_mm: its mean radius.
        """
        shape = distance.shape
        tissue = np.full(shape, T.TUMOUR, np.uint8)
        islands = self._noise(shape, look.grain_mm, 2.0) + 0.6 * self._noise(shape, 2 * look.grain_mm)
        tissue[islands < np.quantile(islands, look.dense)] = T.TUMOUR_DENSE
        tissue[distance < look.core] = T.TUMOUR_DENSE
        for share, tissue_label in ((look.haemorrhage, T.HAEMORRHAGE), (look.necrosis, T.NECROSIS)):
            if share:
                blots = self._noise(shape, max(7.0, 0.45 * radius_mm)) - distance
                tissue[blots > np.quantile(blots[distance < 1], 1 - share)] = tissue_label
        if look.septa:
            strands = np.abs(self._noise(shape, max(9.0, 0.4 * radius_mm)))
            tissue[strands < np.quantile(strands, look.septa)] = T.SEPTUM
        if look.capsule_mm:
            tissue[distance > 1 - look.capsule_mm / radius_mm] = T.SEPTUM
        return tissue

    def _noise(self, shape: tuple[int, ...], size_mm: float, taller: float = 1.0) -> np.ndarray:
        """Return noise in blots of about ``size_mm``, ``taller`` times as high, so that thick slices show them."""
        sizes = (size_mm * taller, size_mm, size_mm)
        coarse = tuple(max(3, round(n * s / mm) + 1) for n, s, mm in zip(shape, self.canvas.step, sizes, strict=True))
        return smooth_noise(self.rng, shape, coarse)

    def _encase_vessel(self, centre: Triple, radii: np.ndarray) -> None:
        """Draw a flow void through the lesion; it stays part of the lesion's cross-section."""
        points = np.asarray(centre) + self.rng.uniform(-0.6, 0.6, (4, 3)) * radii
        points = points[np.argsort(points[:, 0])]
        radius = self.rng.uniform(0.025, 0.04) * self.canvas.child.half_width
        self.canvas.tube(points, radius, T.ARTERY, (T.TUMOUR, T.TUMOUR_DENSE, T.SEPTUM, T.NECROSIS))


def _largest_part(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected part of a mask, so that spared tissue does not leave a lesion in pieces."""
    parts, count = label(mask)
    return mask if count < 2 else parts == 1 + np.argmax(np.bincount(parts[parts > 0])[1:])


def paint(canvas: Canvas, levels: Levels, stage: str, site: str, rng: np.random.Generator) -> Tumours:
    """Paint all lesions of a patient.

    Args:
        canvas: the patient's healthy anatomy, over which the lesions are painted.
        levels: of the regions.
        stage: a key of `STAGE_SHARES`.
        site: of the primary, a key of `SITE_SHARES`; ignored for ``normal``.
        rng: for places, sizes and texture.

    Returns:
        The lesions by voxel and their names; the canvas has their tissues.
    """
    tumours = Tumours(canvas, rng)
    if stage == "normal":
        return tumours
    side = int(rng.choice((-1, 1)))
    centre = primary_place(levels, site, side, rng)
    growth = (canvas.child.half_width / 90) ** 0.6  # 1 at three years; tumours grow less than the child
    if stage == "L1":
        radius = rng.uniform(11.5, 18) * growth
        tumours.add("primary", centre, radius * rng.uniform(0.9, 1.1, 3), LOOKS["L1"])
    elif stage == "L2":
        centre = centre * (1, 1, rng.uniform(0.3, 0.7)) - (0, 0.06, 0)
        radius = rng.uniform(24, 36) * growth
        tumours.add("primary", centre, radius * rng.uniform((0.9, 0.75, 0.95), (1.35, 1.0, 1.3)), LOOKS["L2"])
    elif stage == "M":
        radius = rng.uniform(16, 27) * growth
        tumours.add("primary", centre, radius * rng.uniform(0.85, 1.15, 3), LOOKS["M"])
        _distant(tumours, rng)
    else:
        radius = rng.uniform(8.5, 12) * growth
        tumours.add("primary", centre, radius * rng.uniform(0.9, 1.1, 3), LOOKS["MS"])
        _liver_nodules(tumours, levels, rng)
    return tumours


def primary_place(levels: Levels, site: str, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return the centre of a primary on one side (-1 right, 1 left), relative (z, y, x)."""
    if site == "adrenal":
        height, depth, lateral = levels.kidneys + rng.uniform(0.045, 0.085), 0.24, 0.34
    elif site == "retroperitoneum":
        height, depth, lateral = rng.uniform(levels.brim + 0.04, levels.kidneys - 0.05), 0.2, 0.26
    else:
        height, depth, lateral = rng.uniform(levels.dome + 0.05, levels.apex - 0.1), 0.42, 0.32
    return np.array([height, depth, side * lateral]) + rng.normal(0, 0.025, 3) * (0.2, 1, 1)


def _distant(tumours: Tumours, rng: np.random.Generator) -> None:
    """Paint lesions in vertebrae, pelvic bone and distant lymph nodes, at least about 14 mm across."""
    growth = max(
        1.0, tumours.canvas.child.half_width / 95
    )  # lesions of infants are not smaller than those of small children
    places = {
        "vertebra": (rng.uniform(0.2, 0.85), 0.45, rng.uniform(-0.06, 0.06)),
        "vertebra 2": (rng.uniform(0.2, 0.85), 0.45, rng.uniform(-0.06, 0.06)),
        "iliac bone": (rng.uniform(0.14, 0.2), 0.22, rng.choice((-1, 1)) * 0.6),
        "supraclavicular node": (0.9, rng.uniform(-0.2, 0.1), rng.choice((-1, 1)) * 0.3),
        "mediastinal node": (rng.uniform(0.7, 0.82), rng.uniform(-0.3, 0.2), rng.choice((-1, 1)) * 0.2),
        "pelvic node": (rng.uniform(0.1, 0.2), rng.uniform(-0.1, 0.15), rng.choice((-1, 1)) * 0.36),
        "inguinal node": (rng.uniform(0.03, 0.06), -0.5, rng.choice((-1, 1)) * 0.5),
    }
    names = rng.permutation(list(places))[: int(rng.integers(3, 6))]
    for name in names:
        radius = rng.uniform(8.5, 13) * growth
        tumours.add(str(name), np.array(places[name]), radius * rng.uniform(0.95, 1.2, 3), LOOKS["metastasis"])


def _liver_nodules(tumours: Tumours, levels: Levels, rng: np.random.Generator) -> None:
    """Paint up to ``_NODULES`` nodules throughout the liver, each apart from the others."""
    canvas = tumours.canvas
    liver = np.argwhere(canvas.labels == T.LIVER)
    taken: list[np.ndarray] = []
    for _ in range(300):  # tries, as a small liver may not have room for all
        if len(taken) == _NODULES:
            break
        index = liver[int(rng.integers(len(liver)))]
        place = canvas.origin + canvas.step * index
        radius = rng.uniform(7.5, 11)
        if any(np.linalg.norm(place - other[:3]) < radius + other[3] + 1.5 for other in taken):
            continue
        taken.append(np.append(place, radius))
        at = tuple(index)
        centre = np.array([canvas.z[at], canvas.y[at], canvas.x[at]])
        tumours.add("liver nodule", centre, radius * rng.uniform(0.9, 1.1, 3), LOOKS["MS"])
