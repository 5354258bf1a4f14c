"""What the page's slice viewer shows of one series: what the nets saw, what they found, and where it is in the patient.

Lengths along a picture are shares of its sides, so that they hold for a picture of any size: (0, 0) is the upper left
corner, (1, 1) the lower right one.
"""

import base64

import cv2
import numpy as np

from nbcad.dicom import Geometry, Slice, geometries
from nbcad.imaging.boxes import Box
from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import stage_grid_shape
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.inference.lesions import STRIDE
from nbcad.report.pictures import middle_slice
from nbcad.report.types import SeriesEntry

PIXELS = 512  # of a picture's longer side at most
QUALITIES = (90, 75, 60, 45, 30)  # of the JPEGs: the best that keeps to `BYTES_A_SLICE`, else the last
BYTES_A_SLICE = 90_000  # on average; 300 slices then take 36 MB of the page
_OBLIQUE = 0.2  # a direction's component of at least so much gets its letter


def viewer_data(analysis: SeriesAnalysis, entry: SeriesEntry) -> dict:
    """Return the data of the viewer, without its pictures.

    Args:
        analysis: of the series.
        entry: the report's, of the same series.

    Returns:
        answered: whether a slice without a lesion is said to have none; size_mm [height, width]; regions,
        region_probability (None for other), tumour: one value a slice; heat {shape,
        cell: distance between places as shares, grids: base64 of uint8 (slices, height, width), 255 for certain};
        lesions [{number, middle: slice, centre_mm, boxes {slice: [row0, col0, row1, col1] as shares}}]; place, see
        `_place`.
    """
    image = analysis.slices[0]
    turn = Canonical.of(image.geometry)
    shape, spacing = turn.shape((image.rows, image.columns)), turn.spacing(image.spacing)
    grid = stage_grid_shape(shape, spacing)
    organs = [image.organ for image in entry.slices]
    heat = np.round(255 * (1 - analysis.heat[:, 0])).clip(0, 255).astype(np.uint8)
    return {
        "answered": analysis.suitability.answered,
        "size_mm": [n * mm for n, mm in zip(shape, spacing, strict=True)],
        "regions": [organ.label for organ in organs],
        "region_probability": [organ.probabilities.get(organ.label) for organ in organs],
        "tumour": [image.tumour_probability for image in entry.slices],
        "heat": {
            "shape": list(heat.shape[1:]),
            "cell": [STRIDE / n for n in grid],
            "grids": base64.b64encode(heat.tobytes()).decode(),
        },
        "lesions": [
            {
                "number": written.id,
                "middle": middle_slice(lesion),
                "centre_mm": written.centre_mm,
                "boxes": {index: _in_shares(turn, box, image) for index, box in lesion.boxes.items()},
            }
            for lesion, written in zip(analysis.lesions, entry.lesions, strict=True)
        ],
        "place": _place(analysis, turn),
    }


def viewer_pictures(analysis: SeriesAnalysis) -> tuple[list[str], int]:
    """Return each slice as a base64 JPEG, turned as the nets see it, and the quality of the JPEGs."""
    turn = Canonical.of(analysis.slices[0].geometry)
    pictures = [_at_most(turn.apply(image)) for image in analysis.volume]
    for quality in QUALITIES:
        encoded = [cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for picture in pictures]
        if sum(map(len, encoded)) <= BYTES_A_SLICE * len(encoded):
            break
    return [base64.b64encode(jpeg.tobytes()).decode() for jpeg in encoded], quality


def letters(direction: np.ndarray) -> str:
    """Return the letters of a direction in patient coordinates (LPS): R L, A P, I S, the strongest first."""
    pairs = ("RL", "AP", "IS")
    order = np.argsort(-np.abs(direction), kind="stable")
    return "".join(pairs[axis][int(direction[axis] > 0)] for axis in order if abs(direction[axis]) >= _OBLIQUE)


def _at_most(picture: np.ndarray) -> np.ndarray:
    scale = PIXELS / max(picture.shape)
    if scale >= 1:
        return picture
    rows, columns = (max(1, round(n * scale)) for n in picture.shape)
    return cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)


def _in_shares(turn: Canonical, box: Box, image: Slice) -> list[float]:
    shape = image.rows, image.columns
    rows, columns = turn.shape(shape)
    row0, col0, row1, col1 = turn.box_to_canonical(box, shape)
    return [round(float(share), 5) for share in (row0 / rows, col0 / columns, row1 / rows, col1 / columns)]


def _place(analysis: SeriesAnalysis, turn: Canonical) -> dict | None:
    """Return the place of the turned slices: unit vectors, corners (slices, 3) in mm, and letters of the edges."""
    planes = geometries(analysis.slices)
    if planes is None:
        return None
    shape = analysis.slices[0].rows, analysis.slices[0].columns

    def patient(plane: Geometry, row: float, column: float) -> np.ndarray:
        row, column, _, _ = turn.box_to_stored((row, column, row, column), shape)
        return plane.pixel_to_patient(row - 0.5, column - 0.5)  # pixel centres from edges

    corners = [patient(plane, 0, 0) for plane in planes]
    right, down = patient(planes[0], 0, 1) - corners[0], patient(planes[0], 1, 0) - corners[0]
    right, down = right / np.linalg.norm(right), down / np.linalg.norm(down)
    return {
        "right": right.round(6).tolist(),
        "down": down.round(6).tolist(),
        "normal": planes[0].normal.round(6).tolist(),
        "corners": np.round(corners, 3).tolist(),
        "letters": {"left": letters(-right), "right": letters(right), "top": letters(-down), "bottom": letters(down)},
    }
