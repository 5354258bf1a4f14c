"""Which samples an annotated slice gives (paper 3.1(1)): itself for the organ net, windows for the stager.

Only their places are planned here; `conversion.convert` makes the images.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nbcad.annotation.annotations import SliceAnnotation
from nbcad.dicom import Slice
from nbcad.imaging.boxes import Box, grown, holds, link
from nbcad.imaging.preprocess import STAGE_MM_PER_PIXEL, Jitter
from nbcad.nets.labels import NORMAL, organ_labels, stage_labels

ORGAN_COPIES = 2  # jittered copies of each training slice, besides itself
POSITIVES_PER_BOX = 12  # windows round a lesion's cross-section, on average
JITTER = 0.25  # of the lesion's box; the window's centre stays inside it
LEAST_LESION_MM = 8.0  # a smaller cross-section is no sample
NEGATIVES_PER_SLICE = {"body": 2, "bright": 6, "beside": 2}  # anywhere, on bright tissue, beside each lesion
CLEARANCE_MM = 8.0  # least distance of a negative window's centre from any lesion's box
BESIDE_MM = 32.0  # "beside": half a window
BRIGHT_PERCENTILE = 60  # of the body's pixels: tumours are bright on T2, and so is what is mistaken for them


@dataclass
class Sample:
    """One entry of an LMDB to be made."""

    task: str  # "organ" or "stage"
    patient: str
    slice: int  # the database's number
    label: int  # line of the task's label file
    mm_per_pixel: float | None = None  # of a window
    row: float | None = None  # a window's centre in the stored image
    col: float | None = None
    jitter: Jitter | None = None  # of a whole slice's further copy


def windows_per_box(annotated: Sequence[Sequence[SliceAnnotation]]) -> list[list[list[float]]]:
    """How many windows to take round each cross-section of each lesion.

    All stages give equally many, and within a stage all lesions: else a metastasis that shows on three slices would
    hardly be seen beside a primary tumour that shows on twenty.

    Args:
        annotated: for each series its slices' annotations, in order.

    Returns:
        For each series, slice and box of it the number, on average `POSITIVES_PER_BOX`; not a whole one.
    """
    slices_shown = [_slices_shown(series) for series in annotated]
    boxes = [(stage, n) for series in slices_shown for of_slice in series for stage, n in of_slice]
    lesions: defaultdict[str, float] = defaultdict(float)
    for stage, n in boxes:
        lesions[stage] += 1 / n
    each = {stage: POSITIVES_PER_BOX * len(boxes) / (len(lesions) * count) for stage, count in lesions.items()}
    return [[[each[stage] / n for stage, n in of_slice] for of_slice in series] for series in slices_shown]


def _slices_shown(series: Sequence[SliceAnnotation]) -> list[list[tuple[str, int]]]:
    """For each slice and box of a series the stage, and how many boxes its lesion has."""
    groups = link([[box for _, box in annotation.lesions] for annotation in series])
    count = {node: len(group) for group in groups for node in group}
    return [
        [(stage, count[index, number]) for number, (stage, _) in enumerate(annotation.lesions)]
        for index, annotation in enumerate(series)
    ]


def plan_samples(
    patient: str,
    slice_number: int,
    image: Slice,
    pixels: np.ndarray,
    annotation: SliceAnnotation,
    windows: Sequence[float],
    seed: int,
) -> list[Sample]:
    """Samples of one slice: the slice for the organ net, windows for the stager (D11 in docs/reproduction.md).

    Args:
        patient: its hash in the database.
        slice_number: of the slice in the database.
        image: the slice.
        pixels: its decoded pixels, shape (rows, columns).
        annotation: what is known of it.
        windows: how many round each of its boxes, of `windows_per_box`.
        seed: of the places; they depend on nothing else but the slice.
    """
    rng = np.random.default_rng([seed, *hashlib.sha256(f"{image.sop_uid}/{image.frame}".encode()).digest()])
    stages = stage_labels()
    samples = []
    if annotation.organ is not None:
        region = organ_labels().index(annotation.organ)
        samples.append(Sample("organ", patient, slice_number, region))
        samples += [
            Sample("organ", patient, slice_number, region, jitter=Jitter.draw(rng)) for _ in range(ORGAN_COPIES)
        ]
    if not annotation.lesions_known:
        return samples
    for (stage, box), windows_here in zip(annotation.lesions, windows, strict=True):
        count = int(windows_here + rng.random())  # on average the number asked for
        samples += [
            Sample("stage", patient, slice_number, stages.index(stage), STAGE_MM_PER_PIXEL, row, col)
            for row, col in _places_in_lesion(box, max(count, 1), image.spacing, rng)
        ]
    boxes = [box for _, box in annotation.lesions]
    samples += [
        Sample("stage", patient, slice_number, stages.index(NORMAL), STAGE_MM_PER_PIXEL, row, col)
        for row, col in _places_off_lesions(pixels, boxes, image.spacing, rng)
    ]
    return samples


def _places_in_lesion(
    box: Box, count: int, spacing: tuple[float, float], rng: np.random.Generator
) -> list[tuple[float, float]]:
    row0, col0, row1, col1 = box
    if max((row1 - row0) * spacing[0], (col1 - col0) * spacing[1]) < LEAST_LESION_MM:
        return []
    shifts = rng.uniform(-JITTER, JITTER, (count, 2))
    rows = (row0 + row1) / 2 + shifts[:, 0] * (row1 - row0)
    columns = (col0 + col1) / 2 + shifts[:, 1] * (col1 - col0)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _places_off_lesions(
    pixels: np.ndarray, boxes: list[Box], spacing: tuple[float, float], rng: np.random.Generator
) -> list[tuple[float, float]]:
    """Places in the body's bounding box that are `CLEARANCE_MM` or more from every lesion."""
    body_pixels = pixels > 0.2 * np.percentile(pixels, 99)
    rows, columns = np.flatnonzero(body_pixels.any(1)), np.flatnonzero(body_pixels.any(0))
    body = float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)
    bright = np.argwhere(pixels >= np.percentile(pixels[body_pixels], BRIGHT_PERCENTILE)) + 0.5
    kept_off = [grown(box, CLEARANCE_MM, spacing) for box in boxes]

    def draw(kind: str, area: Box | None = None) -> list[tuple[float, float]]:
        tries = 10 * NEGATIVES_PER_SLICE[kind]  # enough unless there is hardly any room
        tried = rng.choice(bright, tries) if area is None else rng.uniform(area[:2], area[2:], (tries, 2))
        free = [(r, c) for r, c in tried.tolist() if holds(body, r, c) and not any(holds(b, r, c) for b in kept_off)]
        return free[: NEGATIVES_PER_SLICE[kind]]

    beside = [place for box in boxes for place in draw("beside", grown(box, BESIDE_MM, spacing))]
    return draw("body", body) + draw("bright") + beside
