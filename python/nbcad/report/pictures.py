"""Evidence: a slice as the nets saw it, with the lesions' boxes and the heat that made them."""

import base64

import cv2
import numpy as np

from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import STAGE_MM_PER_PIXEL
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.inference.lesions import STRIDE, Lesion

PICTURES = 12  # slices shown of one series at most; each adds about 0.5 MB to a page, 0.9 MB to what is sent
PICTURE_PIXELS = 512  # of the longer side
_BOX_COLOUR = (60, 200, 255)  # BGR
_HEAT_SHOWN_FROM = 0.3


def evidence_slices(analysis: SeriesAnalysis) -> dict[int, list[int]]:
    """Return the middle slices of the most probable lesions, at most `PICTURES`, or else the hottest slice.

    Of an unsuited series there is no evidence, since nothing is said of it.

    Returns:
        By index of the slice the numbers, from 1, of the lesions whose middle it is.
    """
    if not analysis.suitability.answered:
        return {}
    if not analysis.lesions:
        return {int(np.argmax(analysis.tumour)): []}
    middles: dict[int, list[int]] = {}
    for number, lesion in enumerate(analysis.lesions, start=1):
        middles.setdefault(middle_slice(lesion), []).append(number)
    return dict(list(middles.items())[:PICTURES])


def middle_slice(lesion: Lesion) -> int:
    """Index of the slice in the middle of a lesion."""
    return list(lesion.boxes)[len(lesion.boxes) // 2]


def evidence(analysis: SeriesAnalysis, index: int, overlay: bool = True) -> np.ndarray:
    """Draw one slice in true proportions, with anterior up and the patient's right on the left.

    Args:
        analysis: of the series.
        index: of the slice.
        overlay: draw heat and boxes.

    Returns:
        uint8, shape (height, width, 3), BGR; the longer side has `PICTURE_PIXELS`.
    """
    image = analysis.slices[index]
    turn = Canonical.of(image.geometry)
    shape = image.rows, image.columns
    grey = turn.apply(analysis.volume[index])
    spacing = turn.spacing(image.spacing)
    millimetres = [n * mm for n, mm in zip(grey.shape, spacing, strict=True)]
    scale = PICTURE_PIXELS / max(millimetres)  # picture pixels a mm
    height, width = (max(1, round(mm * scale)) for mm in millimetres)
    picture = cv2.cvtColor(cv2.resize(grey, (width, height), interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    if not overlay:
        return picture
    picture = _with_heat(picture, 1 - analysis.heat[index, 0], scale * STRIDE * STAGE_MM_PER_PIXEL)
    for number, lesion in enumerate(analysis.lesions, start=1):
        if index in lesion.boxes:
            row0, col0, row1, col1 = turn.box_to_canonical(lesion.boxes[index], shape)
            rows, columns = height / grey.shape[0], width / grey.shape[1]
            first, last = (round(col0 * columns), round(row0 * rows)), (round(col1 * columns), round(row1 * rows))
            cv2.rectangle(picture, first, last, _BOX_COLOUR, 2)
            place = first[0] + 4, max(first[1] - 6, 14)
            cv2.putText(picture, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, _BOX_COLOUR, 2, cv2.LINE_AA)
    return picture


def _with_heat(picture: np.ndarray, tumour: np.ndarray, pixels_a_place: float) -> np.ndarray:
    """Blend in the tumour probability; a place (i, j) of it lies on picture pixel (i, j) * pixels_a_place."""
    to_places = np.array([[1 / pixels_a_place, 0, 0], [0, 1 / pixels_a_place, 0]])
    size = picture.shape[1], picture.shape[0]
    heat = cv2.warpAffine(
        tumour, to_places, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    colours = cv2.applyColorMap(np.round(255 * heat).astype(np.uint8), cv2.COLORMAP_HOT)
    shown = heat > _HEAT_SHOWN_FROM
    alpha = (0.45 * (heat[shown] - _HEAT_SHOWN_FROM) / (1 - _HEAT_SHOWN_FROM))[:, None]
    blended = picture.copy()
    blended[shown] = np.round(picture[shown] * (1 - alpha) + colours[shown] * alpha)
    return blended


def data_uri(picture: np.ndarray) -> str:
    """Return a picture as a PNG in a data: URI, so that a page needs no other file."""
    done, png = cv2.imencode(".png", picture)
    assert done
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()
