"""Evidence for a PACS: slices with what was found burned in, as Secondary Capture images (DICOM PS3.3 A.8.1)."""

import cv2
import numpy as np
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from nbcad import NAME
from nbcad.dicom import Slice
from nbcad.imaging.orientation import Canonical
from nbcad.report.html import percent
from nbcad.report.objects import RESEARCH_USE, SC_SERIES, SeriesReport, frame_number, shared
from nbcad.report.pictures import evidence, evidence_slices

LEAST_WIDTH = 512  # pixels, so that what is written below the slice can be read
_LINE, _MARGIN = 20, 6
_WHITE, _GREY, _YELLOW = (255, 255, 255), (170, 170, 170), (60, 200, 255)  # BGR
_FONT = cv2.FONT_HERSHEY_SIMPLEX, 0.45
_LETTERS = ("LR", "PA", "HF")  # of each axis' positive and negative direction (PS3.3 C.7.6.1.1.1)
_COLOURS = "Colour: tumour probability. Box: lesion found, with its number."


def secondary_captures(analysed: SeriesReport) -> list[Dataset]:
    """Return one secondary capture for each of the `evidence_slices`, in a series of their own."""
    attributes = shared(analysed, SC_SERIES, "evidence")
    return [
        _capture(analysed, index, numbers, instance, attributes)
        for instance, (index, numbers) in enumerate(evidence_slices(analysed.analysis).items(), start=1)
    ]


def _capture(analysed: SeriesReport, index: int, numbers: list[int], instance: int, attributes: dict) -> Dataset:
    image = analysed.analysis.slices[index]
    slice_shown = evidence(analysed.analysis, index)
    letters = orientation(image)
    capture: Dataset = SCImage(
        pixel_array=cv2.cvtColor(labelled(slice_shown, letters, _words(analysed, index, numbers)), cv2.COLOR_BGR2RGB),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=letters or ("L", "P"),
        pixel_spacing=_spacing(image, slice_shown.shape),
        study_instance_uid=analysed.analysis.series.study_uid,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=instance,
        **attributes,
    )
    if not letters:
        capture.PatientOrientation = None
    capture.ConversionType = "WSD"
    capture.Laterality = None  # type 2C; what it would say of a paired organ is not known
    capture.BurnedInAnnotation = "YES"
    capture.ImageComments = RESEARCH_USE
    capture.DerivationDescription = f"Slice enhanced and resampled; burned in: {_COLOURS} {RESEARCH_USE}"
    capture.SourceImageSequence = [_source(image)]
    if analysed.analysis.series.phantom:
        capture.QualityControlImage = "YES"
    return capture


def orientation(image: Slice) -> tuple[str, str] | None:
    """Return the main directions of rows and columns of a slice's picture, (0020,0020) Patient Orientation, or None."""
    if image.geometry is None:
        return None
    turn = Canonical.of(image.geometry)
    along_row, along_column = image.geometry.along_row, image.geometry.along_column
    if turn.transposed:
        along_row, along_column = along_column, along_row
    return (
        _letter(-along_row if turn.columns_flipped else along_row),
        _letter(-along_column if turn.rows_flipped else along_column),
    )


def _letter(direction: np.ndarray) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return _LETTERS[axis][int(direction[axis] < 0)]


def _spacing(image: Slice, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return the spacing of rows and of columns of a slice's picture, in mm."""
    turn = Canonical.of(image.geometry)
    rows, columns = turn.shape((image.rows, image.columns))
    row_mm, column_mm = turn.spacing(image.spacing)
    return rows * row_mm / shape[0], columns * column_mm / shape[1]


def _words(analysed: SeriesReport, index: int, numbers: list[int]) -> list[str]:
    image = analysed.analysis.slices[index]
    entries = [entry for entry in analysed.series.lesions if entry.id in numbers]
    found = "; ".join(f"Lesion {entry.id}: {percent(entry.probability)}" for entry in entries)
    words = [
        RESEARCH_USE.upper(),
        f"{NAME} {analysed.version}. Slice {index + 1} of {len(analysed.analysis.slices)}."
        f" {found or 'No lesion found'}.",
        _COLOURS,
    ]
    if not image.geometry:
        words.append("The image has no position: right and left are not known.")
    if analysed.analysis.series.phantom:
        words.append("Synthetic: a phantom and no patient.")
    return words


def labelled(picture: np.ndarray, letters: tuple[str, str] | None, words: list[str]) -> np.ndarray:
    """Return the picture with letters at its edges and text below it, where they hide nothing."""
    height, width = picture.shape[:2]
    canvas_width = max(width, LEAST_WIDTH)
    lines = [line for text in words for line in _wrapped(text, canvas_width - 2 * _MARGIN)]
    canvas = np.zeros((height + _LINE * len(lines) + 2 * _MARGIN, canvas_width, 3), np.uint8)
    canvas[:height, :width] = picture
    if letters:
        opposite = {pair[i]: pair[1 - i] for pair in _LETTERS for i in (0, 1)}
        for letter, x, y in (
            (letters[0], width - 16, height // 2), (opposite[letters[0]], 4, height // 2),
            (letters[1], width // 2, height - 6), (opposite[letters[1]], width // 2, 16),
        ):  # fmt: skip
            cv2.putText(canvas, letter, (x, y), _FONT[0], 0.5, _GREY, 1, cv2.LINE_AA)
    for number, line in enumerate(lines, start=1):
        colour = _YELLOW if number == 1 else _WHITE
        cv2.putText(canvas, line, (_MARGIN, height + _LINE * number), *_FONT, colour, 1, cv2.LINE_AA)
    return canvas


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and cv2.getTextSize(longer, *_FONT, 1)[0][0] > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _source(image: Slice) -> Dataset:
    """Return an item of (0008,2112) Source Image Sequence."""
    item, purpose = Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.sop_class_uid, image.sop_uid
    if number := frame_number(image):
        item.ReferencedFrameNumber = number
    code = codes.DCM.SourceImageForImageProcessingOperation
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = code[0], code[1], code[2]
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item
