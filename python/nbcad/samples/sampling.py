"""The samples of an annotated slice (paper 3.1(1)): the slice itself for the organ net, windows for the stager.

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
JITTER = 0.25  # share of the lesion's box; the window's centre stays inside the box
LEAST_LESION_MM = 8.0  # a smaller cross-section gives no sample
NEGATIVES_PER_SLICE = {"body": 2, "bright": 6, "beside": 2}  # in the body, on bright tissue, beside each lesion
CLEARANCE_MM = 8.0  # least distance between the centre of a negative window and any lesion's box
BESIDE_MM = 32.0  # reach of "beside": half a window
BRIGHT_PERCENTILE = 60  # of the body's pixels: tumours are bright on T2, and so is the tissue mistaken for them


@dataclass
class Sample:
    """A planned entry of an LMDB."""

    task: str  # "organ" or "stage"
    patient: str
    slice: int  # number in the database
    label: int  # line of the task's label file
    mm_per_pixel: float | None = None  # of a window
    row: float | None = None  # a window's centre in the stored image
    col: float | None = None
    jitter: Jitter | None = None  # of a further copy of a whole slice


def windows_per_box(annotated: Sequence[Sequence[SliceAnnotation]]) -> list[list[list[float]]]:
    """Return how many windows to take round each cross-section of each lesion.

    Every stage gets the same number of windows, and so does every lesion within a stage. Otherwise the stager would
    hardly see a metastasis that shows on three slices beside a primary tumour that shows on twenty.

    Args:
        annotated: for each series the annotations of its slices, in order.

    Returns:
        For each series, each of its slices and each box the number of windows, which need not be whole. The mean is
        `POSITIVES_PER_BOX`.
    """
    boxes = [_boxes_of_slices(series) for series in annotated]  # by series and slice
    all_boxes = [box for series in boxes for on_slice in series for box in on_slice]
    lesions: defaultdict[str, float] = defaultdict(float)  # number of lesions by stage
    for stage, boxes_of_lesion in all_boxes:
        lesions[stage] += 1 / boxes_of_lesion
    of_lesion = {stage: POSITIVES_PER_BOX * len(all_boxes) / (len(lesions) * n) for stage, n in lesions.items()}
    return [[[of_lesion[stage] / n for stage, n in on_slice] for on_slice in series] for series in boxes]


def _boxes_of_slices(series: Sequence[SliceAnnotation]) -> list[list[tuple[str, int]]]:
    """Return for each slice of a series, and each box on it, the stage and the number of boxes of the same lesion."""
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
    """Plan the samples of one slice: the slice for the organ net, windows for the stager (D11, docs/reproduction.md).

    Args:
        patient: hash of the patient in the database.
        slice_number: number of the slice in the database.
        image: the slice.
        pixels: its decoded pixels, shape (rows, columns).
        annotation: its region and lesions.
        windows: number of windows round each of its boxes, from `windows_per_box`.
        seed: of the places, which depend on it and on the slice's UID and frame alone.
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
    for (stage, box), windows_of_box in zip(annotation.lesions, windows, strict=True):
        count = int(windows_of_box + rng.random())  # the mean is the number asked for
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
    """Draw ``count`` places about the centre of a lesion's box; none if the box is small."""
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
    """Draw places in the body's bounding box that are `CLEARANCE_MM` or more away from every lesion."""
    body_pixels = pixels > 0.2 * np.percentile(pixels, 99)
    rows, columns = np.flatnonzero(body_pixels.any(1)), np.flatnonzero(body_pixels.any(0))
    body = float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)
    bright = np.argwhere(pixels >= np.percentile(pixels[body_pixels], BRIGHT_PERCENTILE)) + 0.5
    kept_off = [grown(box, CLEARANCE_MM, spacing) for box in boxes]

    def draw(kind: str, area: Box | None = None) -> list[tuple[float, float]]:
        tries = 10 * NEGATIVES_PER_SLICE[kind]  # enough unless hardly any room is free
        tried = rng.choice(bright, tries) if area is None else rng.uniform(area[:2], area[2:], (tries, 2))
        free = [(r, c) for r, c in tried.tolist() if holds(body, r, c) and not any(holds(b, r, c) for b in kept_off)]
        return free[: NEGATIVES_PER_SLICE[kind]]

    beside = [place for box in boxes for place in draw("beside", grown(box, BESIDE_MM, spacing))]
    return draw("body", body) + draw("bright") + beside
