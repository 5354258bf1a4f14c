"""The side and the site of a lesion, from its own place in the body and the region of its slices.

A slice's region is no lesion's site: the liver, too, lies on slices that show the adrenal glands. Neuroblastoma arises
from the adrenal medulla and the sympathetic chain, which lie at the back of the trunk, beside the spine. A lesion there
has the region of its slices as its site; the site of a lesion elsewhere (liver, bowel, spleen, bone, chest wall, lymph
nodes before the great vessels) is not determined.

A place is given relative to the trunk on its slice, so that it means the same in an infant and in a grown child.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
from scipy import ndimage

from nbcad.imaging.boxes import Box, Boxes
from nbcad.imaging.orientation import Canonical, is_axial
from nbcad.inference.analysis import SeriesAnalysis

Side = Literal["left", "right", "midline"]

_MM_PER_PIXEL = 4.0  # of the slice in which the trunk is looked for
_ABOVE_NOISE = 0.05  # of the 99th percentile: tissue is brighter than the background by so much
_BACKGROUND_PERCENTILE = 5  # hardly any image is filled by the body to 95 %
_HOLES = 2  # pixels: narrower gaps in the outline (dark muscle, cortical bone) are closed
_LIMBS = 0.4  # of the trunk's inner radius: parts narrower than that, such as arms, are no part of it
_SAME_REGION = 2 / 3  # of a lesion's slices
_MIDLINE = 0.1  # of half the trunk's width on both sides of its middle


class Place(NamedTuple):
    """A place relative to the trunk on its slice."""

    across: float  # from the middle: -1 at the patient's right edge, 1 at the left one
    depth: float  # 0 at the back, 1 at the front


class Situation(NamedTuple):
    """The place of a lesion in the patient; None: not determined."""

    side: Side | None
    site: str | None  # a region


@dataclass(frozen=True)
class Zone:
    """The part of a trunk's cross-section in which a region's tumours arise: the same on both sides of the middle."""

    lateral: tuple[float, float]  # nearest to and farthest from the middle
    depth: tuple[float, float]

    def holds(self, place: Place) -> bool:
        """Return whether a place lies in the zone."""
        lateral = self.lateral[0] <= abs(place.across) <= self.lateral[1]
        return lateral and self.depth[0] <= place.depth <= self.depth[1]


# The spine with its transverse processes takes up the middle of the back third. Adrenal glands lie before that depth,
# beside the front of the vertebrae and above the kidneys; the ganglia of the retroperitoneum nearer to the middle,
# beside the great vessels; those of the thorax in the groove between spine and ribs, within the chest wall. What lies
# further to the front or to the side is another organ.
ZONES = {
    "adrenal": Zone((0.1, 0.5), (0.3, 0.46)),
    "retroperitoneum": Zone((0.1, 0.36), (0.3, 0.44)),
    "thorax": Zone((0.15, 0.5), (0.18, 0.4)),
}


@dataclass(frozen=True)
class Trunk:
    """The outermost edges of the trunk on a turned slice, in mm from the slice's upper left corner."""

    front: float
    back: float
    right: float
    left: float

    def place(self, row_mm: float, column_mm: float) -> Place:
        """Return a place of the turned slice relative to the trunk."""
        middle, half = (self.left + self.right) / 2, (self.left - self.right) / 2
        return Place((column_mm - middle) / half, (self.back - row_mm) / (self.back - self.front))


def trunk_on(image: np.ndarray, spacing: tuple[float, float]) -> Trunk | None:
    """Return the edges of the trunk on a turned slice; None where the slice shows none.

    Args:
        image: enhanced and turned, uint8, shape (rows, columns).
        spacing: in mm, between rows and between columns.
    """
    rows, columns = (max(1, round(n * mm / _MM_PER_PIXEL)) for n, mm in zip(image.shape, spacing, strict=True))
    small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    background, bright = np.percentile(small, (_BACKGROUND_PERCENTILE, 99))
    body = np.pad(small > background + _ABOVE_NOISE * bright, _HOLES)
    body = ndimage.binary_fill_holes(ndimage.binary_closing(body, iterations=_HOLES))
    inside = ndimage.distance_transform_edt(np.pad(body[_HOLES:-_HOLES, _HOLES:-_HOLES], 1))
    if not inside.any():
        return None
    radius = _LIMBS * inside.max()
    parts, _ = ndimage.label(inside > radius)
    trunk = ndimage.distance_transform_edt(parts != parts.flat[np.argmax(inside)]) <= radius
    row, column = (np.flatnonzero(trunk[1:-1, 1:-1].any(axis=axis)) for axis in (1, 0))
    cell = image.shape[0] * spacing[0] / rows, image.shape[1] * spacing[1] / columns
    return Trunk(row[0] * cell[0], (row[-1] + 1) * cell[0], column[0] * cell[1], (column[-1] + 1) * cell[1])


class Situations:
    """Tells side and site of the lesions of one series; the trunk is looked for once a slice."""

    def __init__(self, analysis: SeriesAnalysis):
        """Args: the analysis of the series."""
        self._analysis = analysis
        self._trunks: dict[int, Trunk | None] = {}
        geometry = analysis.slices[0].geometry
        self._turn = Canonical.of(geometry) if is_axial(geometry) else None

    def of(self, boxes: Boxes) -> Situation:
        """Return the situation of a lesion; nothing of it is determined without an axial plane and a trunk."""
        places = [place for index, box in boxes.items() if (place := self._place(index, box))]
        if not places:
            return Situation(None, None)
        place = Place(*np.median(places, axis=0).tolist())
        region = self._region(boxes)
        zone = ZONES.get(region) if region else None  # none for other
        return Situation(side_of(place), region if zone and zone.holds(place) else None)

    def _region(self, boxes: Boxes) -> str | None:
        """Return the region of a clear majority of a lesion's slices."""
        ((region, count),) = Counter(self._analysis.organs[index] for index in boxes).most_common(1)
        return region if count >= _SAME_REGION * len(boxes) else None

    def _place(self, index: int, box: Box) -> Place | None:
        """Return the place of a box's centre on its slice."""
        if self._turn is None:
            return None
        image = self._analysis.slices[index]
        spacing = self._turn.spacing(image.spacing)
        if index not in self._trunks:
            self._trunks[index] = trunk_on(self._turn.apply(self._analysis.volume[index]), spacing)
        trunk = self._trunks[index]
        if trunk is None:
            return None
        row0, column0, row1, column1 = self._turn.box_to_canonical(box, (image.rows, image.columns))
        return trunk.place((row0 + row1) / 2 * spacing[0], (column0 + column1) / 2 * spacing[1])


def side_of(place: Place) -> Side:
    """Return the patient's side on which a place lies, or the midline close to the trunk's middle."""
    if abs(place.across) < _MIDLINE:
        return "midline"
    return "left" if place.across > 0 else "right"
