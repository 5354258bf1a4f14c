"""Lesions from heat: its peaks, with the places that lead up to each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.special import expit, logit
from skimage import morphology, segmentation

from nbcad.dicom import Slice
from nbcad.imaging.boxes import Box
from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import stage_grid_shape

STRIDE = 4  # pixels between windows: the product of the net's two pooling strides
SMOOTHING = (0.6, 0.3, 0.3)  # standard deviations in slices and in places; chosen on held-out patients
PROMINENCE = 0.25  # log odds by which two peaks must exceed the saddle between them to count as two lesions
SURE = 3.0  # log odds above which ripples do not split a lesion; otherwise a large tumour would become many
EXTENT_BELOW = 1.25  # a lesion extends to places this far, in log odds, below the threshold
LEAST_PROBABILITY = 1e-4  # keeps one place from outvoting its neighbours
_NEIGHBOURS = np.ones((3, 3, 3))
# Evenly spaced in log odds, as a net's tumour probability depends on the share of normal samples in its training.
THRESHOLDS = tuple(np.round(expit(np.arange(-3, 4.1, 0.125)), 4).tolist())


@dataclass(frozen=True)
class OperatingPoint:
    """The thresholds that turn heat into lesions: smoothed tumour probabilities, chosen on the validation patients."""

    threshold: float  # of a lesion's peak
    extent: float  # of every place that belongs to it

    @classmethod
    def of(cls, threshold: float) -> "OperatingPoint":
        """Return the operating point of a threshold, with the extent that goes with it."""
        return cls(threshold, float(expit(logit(threshold) - EXTENT_BELOW)))


@dataclass
class Lesion:
    """One lesion of a series."""

    boxes: dict[int, Box]  # by slice index, in pixels of the stored image
    probability: float  # the highest smoothed tumour probability
    stages: np.ndarray  # (tumour stages,) given that it is a tumour
    centre: tuple[float, float, float]  # slice index, row, column of the stored image, weighted by probability


def smoothed_log_odds(heat: np.ndarray) -> np.ndarray:
    """Return the log odds of tumour, averaged over neighbouring places and slices.

    Args:
        heat: shape (n, classes, height, width), class 0 is normal.

    Returns:
        shape (n, height, width).
    """
    odds = logit(np.clip(1 - heat[:, 0], LEAST_PROBABILITY, 1 - LEAST_PROBABILITY))
    return ndimage.gaussian_filter(odds, SMOOTHING, mode="nearest")


class Peaks:
    """The heat of one series, divided at its valleys: each peak with the places that lead up to it.

    Neighbouring metastases can be as close to each other as the places of the heat map; taking connected heat as a
    lesion would merge them.
    """

    def __init__(self, heat: np.ndarray, slices: list[Slice]):
        """Divide the result of `heat.heat_maps` on n slices."""
        self._heat, self._image = heat, slices[0]
        odds = smoothed_log_odds(heat)
        self._tumour = expit(odds)
        self._basins = _basins(odds)
        self._numbers = np.arange(1, self._basins.max() + 1)
        self._peaks = ndimage.maximum(self._tumour, self._basins, self._numbers)

    def lesions(self, point: OperatingPoint) -> list[Lesion]:
        """Return the peaks that are lesions, most probable first."""
        lesions = [
            _lesion((self._basins == number) & (self._tumour >= point.extent), self._tumour, self._heat, self._image)
            for number in self._numbers[self._peaks >= point.threshold]
        ]
        return sorted(lesions, key=lambda lesion: -lesion.probability)


def find_lesions(heat: np.ndarray, slices: list[Slice], point: OperatingPoint) -> list[Lesion]:
    """Return the lesions of one series, most probable first.

    Args:
        heat: result of `heat.heat_maps`.
        slices: the same n slices.
        point: the thresholds of a lesion.
    """
    return Peaks(heat, slices).lesions(point)


def _basins(odds: np.ndarray) -> np.ndarray:
    """Return for each place the number, from 1, of the peak that it leads up to; the shape is that of ``odds``."""
    # Lower the peaks by the prominence and fill up again from below: smaller peaks become part of a plateau.
    capped = np.minimum(odds, SURE)
    flattened = morphology.reconstruction(capped - PROMINENCE, capped, footprint=_NEIGHBOURS)
    # Pad, since perfectly even heat has no maximum.
    highest = morphology.local_maxima(np.pad(flattened, 1, constant_values=flattened.min() - 1), footprint=_NEIGHBOURS)[
        1:-1, 1:-1, 1:-1
    ]
    peaks, _ = ndimage.label(highest, _NEIGHBOURS)
    return segmentation.watershed(-odds, peaks, connectivity=_NEIGHBOURS)


def place_in_stored(place: Sequence[float] | np.ndarray, image: Slice) -> tuple[float, float]:
    """Return row and column in the stored image, from its upper left corner, of a place of its heat map."""
    turn, shape = Canonical.of(image.geometry), (image.rows, image.columns)
    cell = _cell_in_pixels(image, turn)
    row, column = place[0] * cell[0], place[1] * cell[1]
    row, column, _, _ = turn.box_to_stored((row, column, row, column), shape)
    return row, column


def _lesion(region: np.ndarray, tumour: np.ndarray, heat: np.ndarray, image: Slice) -> Lesion:
    turn, shape = Canonical.of(image.geometry), (image.rows, image.columns)
    cell = _cell_in_pixels(image, turn)
    boxes = {}
    for index in np.flatnonzero(region.any(axis=(1, 2))):
        ((rows, columns),) = ndimage.find_objects(region[index].astype(int))
        box = _clip(_box(rows, columns, cell), turn.shape(shape))
        boxes[int(index)] = turn.box_to_stored(box, shape)
    places, weights = np.argwhere(region), tumour[region]
    index, *place = np.average(places, axis=0, weights=weights)
    row, column = place_in_stored(place, image)
    stages = np.moveaxis(heat, 1, -1)[region][:, 1:].sum(axis=0)
    return Lesion(
        boxes=boxes,
        probability=float(weights.max()),
        stages=stages / max(stages.sum(), np.finfo(np.float32).tiny),
        centre=(float(index), float(row) - 0.5, float(column) - 0.5),  # edges to pixel centres
    )


def _cell_in_pixels(image: Slice, turn: Canonical) -> tuple[float, float]:
    """Return the distance between neighbouring places of the heat map, in pixels of the turned slice."""
    shape = turn.shape((image.rows, image.columns))
    grid = stage_grid_shape(shape, turn.spacing(image.spacing))
    return STRIDE * shape[0] / grid[0], STRIDE * shape[1] / grid[1]


def _box(rows: slice, columns: slice, cell: tuple[float, float]) -> Box:
    """Return the box of the cells around some places."""
    return (
        (rows.start - 0.5) * cell[0],
        (columns.start - 0.5) * cell[1],
        (rows.stop - 0.5) * cell[0],
        (columns.stop - 0.5) * cell[1],
    )


def _clip(box: Box, shape: tuple[int, int]) -> Box:
    """Clip a box to the image, keeping at least the last pixel: the last places may lie beyond the edge."""
    row0, col0 = (float(np.clip(box[i], 0, shape[i] - 1)) for i in (0, 1))
    return row0, col0, min(box[2], float(shape[0])), min(box[3], float(shape[1]))
