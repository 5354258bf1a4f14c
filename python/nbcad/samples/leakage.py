"""What a split by image does to figures: one simple classifier on the same slices, split by image and by patient."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import enhance, organ_input
from nbcad.samples import database
from nbcad.samples.splitting import SplitPlan

_SIZE = 16  # pixels along one side; enough to tell regions, and one slice from its neighbour


@dataclass(frozen=True)
class Bias:
    """Share of test slices whose region the nearest training slice names rightly."""

    by_image: float
    by_patient: float


def measure(sample_database: Path, plan: SplitPlan) -> Bias | None:
    """Name the region of each test slice by its nearest training slice, in a database that is split by image.

    Args:
        sample_database: the SQLite file.
        plan: its split; the one by patient has the same seed and shares.

    Returns:
        None where one of the two splits has no slice of a known region to learn from or to test on.
    """
    with closing(database.connect(sample_database)) as connection:
        images, labels, patients, sides = _labelled_slices(connection)
        stages = dict(connection.execute("SELECT patient, stage FROM patient ORDER BY rowid").fetchall())
    of_patient = {one: side for one, (side, _) in plan.assign(stages, {}).items()}
    by_image = _accuracy(images, labels, sides)
    by_patient = _accuracy(images, labels, np.array([of_patient[p] for p in patients]))
    return None if by_image is None or by_patient is None else Bias(by_image, by_patient)


def _labelled_slices(connection: sqlite3.Connection) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Small images, shape (n, pixels), regions, patients and sides of all slices of a known region."""
    found = []
    for slices, pixels, known in database.labelled_series(connection):
        for image, enhanced, row in zip(slices, enhance(pixels), known, strict=True):
            if row["organ"] is not None:
                turn = Canonical.of(image.geometry)
                small = organ_input(turn.apply(enhanced), turn.spacing(image.spacing), _SIZE)
                found.append((small.ravel().astype(np.float32), row["organ"], row["patient"], row["side"]))
    images, labels, patients, sides = zip(*found, strict=True) if found else ((), (), (), ())
    return np.array(images), np.array(labels), np.array(patients), np.array(sides)


def _accuracy(images: np.ndarray, labels: np.ndarray, sides: np.ndarray) -> float | None:
    train, test = sides == "train", sides == "test"
    if not train.any() or not test.any():
        return None
    return float(KNeighborsClassifier(1).fit(images[train], labels[train]).score(images[test], labels[test]))
