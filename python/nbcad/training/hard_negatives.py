"""Hard negatives (ours): tissue of the training patients that a stager mistakes for tumour, as normal samples.

Places drawn at random seldom show the tissue that a net mistakes for tumour: flow, bowel, partly filled vessels. A net
is therefore run over the training patients, and windows round its false places join the samples of a second training.
"""

from pathlib import Path

import numpy as np

from nbcad.dicom import Slice
from nbcad.evaluation.truth import Truth, heat_of_split
from nbcad.imaging.boxes import grown, holds
from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import pad_for_windows, stage_grid, stage_window
from nbcad.inference.lesions import STRIDE, place_in_stored
from nbcad.samples import lmdb_io
from nbcad.samples.database import SampleDatabase
from nbcad.samples.sampling import CLEARANCE_MM

TUMOUR_PROBABILITY = 0.6  # at a place without lesion: from here on the net is mistaken
WINDOWS_PER_PLACE = 3
SHIFT_PIXELS = STRIDE / 2  # largest shift; the windows of neighbouring places then meet


def mine(sample_database: Path, lmdbs: Path, weights: Path, out: Path, seed: int = 1) -> tuple[int, int]:
    """Write an LMDB of all training windows and of a net's hard negatives, in seeded random order.

    Args:
        sample_database: SQLite file; only its training patients are used.
        lmdbs: folder of the LMDBs made from it.
        weights: caffemodel of the stage net that makes the mistakes.
        out: the new LMDB, replaced as a whole.
        seed: of the windows' shifts and mirroring, and of the order.

    Returns:
        Number of training windows before, and number of hard negatives.

    Raises:
        DatabaseError: the LMDBs are missing, or were not made from this database.
        ModelError: the weights are missing or of another net.
    """
    rng = np.random.default_rng(seed)
    hard: list[np.ndarray] = []
    with SampleDatabase.open(sample_database) as database:
        lmdb_io.check_made_from(lmdbs, database)
        n4 = lmdb_io.read_info(lmdbs).n4
        for truth, slices, volume, heat in heat_of_split(database, "train", weights, n4):
            hard += false_windows(heat, slices, volume, truth, rng)
    windows, labels = lmdb_io.read(lmdbs / "stage_train")
    images, numbers = [*windows, *hard], [*labels.tolist(), *[0] * len(hard)]  # label 0 is normal
    order = rng.permutation(len(images))
    lmdb_io.write(out, (images[n] for n in order), (numbers[n] for n in order))
    return len(windows), len(hard)


def false_windows(
    heat: np.ndarray, slices: list[Slice], volume: np.ndarray, truth: Truth, rng: np.random.Generator
) -> list[np.ndarray]:
    """Cut windows round the places of one series that the net takes for tumour and that are clear of every lesion.

    Args:
        heat: result of `heat.heat_maps`.
        slices, volume: the n slices that it was made from, and their enhanced pixels.
        truth: of the same n slices.
        rng: for shifts and mirroring.

    Returns:
        uint8, each of shape (32, 32).
    """
    turn, spacing = Canonical.of(slices[0].geometry), slices[0].spacing
    windows = []
    for index in np.flatnonzero(truth.looked_at).tolist():
        places = np.argwhere(1 - heat[index, 0] >= TUMOUR_PROBABILITY)
        lesions = [grown(boxes[index], CLEARANCE_MM, spacing) for boxes in truth.lesions if index in boxes]
        stored = [place_in_stored(place, slices[index]) for place in places]
        false = [p for p, at in zip(places, stored, strict=True) if not any(holds(box, *at) for box in lesions)]
        if not false:
            continue
        padded = pad_for_windows(stage_grid(turn.apply(volume[index]), turn.spacing(spacing)))
        for place in np.repeat(false, WINDOWS_PER_PLACE, axis=0):
            row, column = place * STRIDE + rng.uniform(-SHIFT_PIXELS, SHIFT_PIXELS, 2)
            window = stage_window(padded, row, column)
            windows.append(window[:, ::-1] if rng.random() < 0.5 else window)
    return windows
