"""Preprocessing of stored pixels to network inputs; training and inference call the same functions.

The steps for one series are, in this order:

1. clip at percentiles of the series, so that a few hot pixels do not set the scale (`enhance`);
2. optionally N4 bias field correction (`enhance`);
3. turn each slice so that rows run to posterior and columns to left (`Canonical`);
4. resample to the organ net's square (`organ_input`), or to fixed millimetres a pixel for the stager (`stage_grid`);
5. equalise the histogram by contrast-limited adaptive histogram equalisation, CLAHE (within step 4).

Steps 1, 2 and 5 are the enhancement for which the paper (3.2) asks without naming a method. The result is uint8, as
Caffe's Datum stores it; the nets' own ``transform_param`` then subtracts the mean and scales.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from nbcad.dicom import Geometry
from nbcad.imaging.orientation import Canonical

CLIP_PERCENTILES = (1.0, 99.5)
CLAHE_CLIP_LIMIT = 2.0
CLAHE_TILES = (8, 8)
JITTER_SD = (8.0, 0.12, 0.06, 0.06)  # degrees, logarithm of the zoom, shares of the side down and right
STAGE_MM_PER_PIXEL = 2.0  # 32 pixels span 64 mm
STAGE_WINDOW = 32  # pixels; the input size of models/stage_lenet5, to which a test compares it


def enhance(volume: np.ndarray, n4: bool = False) -> np.ndarray:
    """Clip a series at its percentiles and, if asked, correct the bias field.

    Args:
        volume: float32, shape (slices, rows, columns).
        n4: correct the uneven coil sensitivity by N4 (Tustison et al. 2010), on a grid four times coarser.

    Returns:
        uint8, same shape, 0..255.
    """
    low, high = np.percentile(volume, CLIP_PERCENTILES)
    if n4:
        volume, low, high = _without_bias_field(np.clip(volume, low, high) - low), 0.0, np.inf
    top = float(min(volume.max(), high) - low)
    scale = 255.0 / top if top > 0 else 0.0
    enhanced = np.empty(volume.shape, np.uint8)
    for image, result in zip(volume, enhanced, strict=True):  # all at once would be float64
        result[:] = np.round((np.clip(image, low, high) - low) * scale)
    return enhanced


def _without_bias_field(volume: np.ndarray) -> np.ndarray:
    """Correct the bias field of a series by N4; float32, shape (slices, rows, columns)."""
    import SimpleITK as sitk  # imported here as it costs every start a tenth of a second, and N4 is optional

    grid = volume[0] if len(volume) == 1 else volume  # ITK does not take a volume of one slice
    image = sitk.GetImageFromArray(grid + 1.0)  # N4 works on the logarithm
    shrink = [4 if size >= 32 else 1 for size in image.GetSize()]
    small = sitk.Shrink(image, shrink)
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations([20, 20])
    corrector.Execute(small, sitk.OtsuThreshold(small, 0, 1, 200))
    field = sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image)).reshape(volume.shape)
    return np.maximum((volume + 1.0) / np.exp(field) - 1.0, 0.0).astype(np.float32)


@dataclass(frozen=True)
class Jitter:
    """The turn, zoom and shift of a training slice, as if the child had been placed differently."""

    turn_deg: float
    zoom: float
    down: float  # share of the square's side
    right: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Jitter":
        """Draw a jitter at random."""
        turn, zoom, down, right = rng.normal(0, JITTER_SD).tolist()
        return cls(turn, float(np.exp(zoom)), down, right)

    def apply(self, square: np.ndarray) -> np.ndarray:
        """Move an image of shape (size, size) about its centre, and fill what comes in from outside by mirroring."""
        middle = (len(square) - 1) / 2
        matrix = cv2.getRotationMatrix2D((middle, middle), self.turn_deg, self.zoom)
        matrix[0, 2] += self.right * len(square)
        matrix[1, 2] += self.down * len(square)
        return cv2.warpAffine(square, matrix, square.shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def organ_input(image: np.ndarray, spacing: tuple[float, float], size: int, jitter: Jitter | None = None) -> np.ndarray:
    """Make the organ net's input: the whole slice on a physical square, equalised.

    Args:
        image: uint8, shape (rows, columns), enhanced and turned.
        spacing: mm between rows and between columns.
        size: pixels along one side of the net's input.
        jitter: of a further copy of a training sample.

    Returns:
        uint8, shape (size, size).
    """
    return _clahe(organ_square(image, spacing, size, jitter))


def organ_inputs(volume: np.ndarray, geometry: Geometry | None, spacing: tuple[float, float], size: int) -> np.ndarray:
    """Make the organ net's input of each slice of a series, by `organ_input`.

    Args:
        volume: uint8, shape (slices, rows, columns), from `enhance`, as stored.
        geometry: of the series' first slice.
        spacing: mm between rows and between columns, as stored.
        size: pixels along one side of the net's input.

    Returns:
        uint8, shape (slices, size, size).
    """
    turn = Canonical.of(geometry)
    return np.stack([organ_input(turn.apply(image), turn.spacing(spacing), size) for image in volume])


def organ_square(
    image: np.ndarray, spacing: tuple[float, float], size: int, jitter: Jitter | None = None
) -> np.ndarray:
    """Put the whole slice on a physical square, as `organ_input` does before it equalises.

    Args and return value are those of `organ_input`.
    """
    height, width = (n * mm for n, mm in zip(image.shape, spacing, strict=True))
    side = max(height, width)
    rows, columns = max(1, round(size * height / side)), max(1, round(size * width / side))
    square = np.zeros((size, size), np.uint8)
    top, left = (size - rows) // 2, (size - columns) // 2
    square[top : top + rows, left : left + columns] = _resize(image, rows, columns)
    return jitter.apply(square) if jitter else square


def stage_grid(image: np.ndarray, spacing: tuple[float, float]) -> np.ndarray:
    """Resample a slice to `STAGE_MM_PER_PIXEL` and equalise it; the stager sees windows of the result.

    Args:
        image: uint8, shape (rows, columns), enhanced and turned.
        spacing: mm between rows and between columns.

    Returns:
        uint8, shape `stage_grid_shape`.
    """
    return _clahe(_resize(image, *stage_grid_shape(image.shape, spacing)))


def stage_grid_shape(shape: tuple[int, int], spacing: tuple[float, float]) -> tuple[int, int]:
    """Return the (rows, columns) of `stage_grid` for a slice of this shape and spacing in mm."""
    rows, columns = (max(1, round(n * mm / STAGE_MM_PER_PIXEL)) for n, mm in zip(shape, spacing, strict=True))
    return rows, columns


def pad_for_windows(grid: np.ndarray, stride: int = 1) -> np.ndarray:
    """Pad a grid by half a window of zeros on each side, and at the end until ``stride`` divides the way of a window.

    The window whose first pixel is (r, c) of the result is centred on the corner before pixel (r, c) of ``grid``.

    Args:
        grid: result of `stage_grid`.
        stride: pixels between neighbouring windows.
    """
    half = STAGE_WINDOW // 2
    more = [(-n) % stride for n in grid.shape]
    return np.pad(grid, [(half, half + m) for m in more])


def stage_window(padded: np.ndarray, row: float, column: float) -> np.ndarray:
    """Cut the window centred on a place of the grid.

    Args:
        padded: result of `pad_for_windows`.
        row, column: centre in pixels of the unpadded grid; moved onto the grid if it lies outside.

    Returns:
        uint8, shape (32, 32).
    """
    first_row = int(np.clip(round(row), 0, padded.shape[0] - STAGE_WINDOW))
    first_column = int(np.clip(round(column), 0, padded.shape[1] - STAGE_WINDOW))
    return padded[first_row : first_row + STAGE_WINDOW, first_column : first_column + STAGE_WINDOW]


def _resize(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Resize an image by area averaging if it shrinks, so that nothing aliases, else by linear interpolation."""
    shrinks = rows * columns <= image.size
    return cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _clahe(image: np.ndarray) -> np.ndarray:
    """Equalise the histogram of a uint8 image by CLAHE."""
    return cv2.createCLAHE(CLAHE_CLIP_LIMIT, CLAHE_TILES).apply(image)
