"""The bias of figures from a split by image: a simple classifier on the same slices, split by image and by patient."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import enhance, organ_input
from nbcad.samples.database import SampleDatabase
from nbcad.samples.images import labelled_series
from nbcad.samples.splitting import SplitPlan

_SIZE = 16  # pixels along one side; enough to tell regions apart, and one slice from its neighbour


@dataclass(frozen=True)
class SplitBias:
    """The share of test slices whose region is that of the nearest training slice, for each way to split."""

    by_image: float
    by_patient: float


def measure_split_bias(sample_database: Path, plan: SplitPlan) -> SplitBias | None:
    """Classify the region of each test slice by its nearest training slice, split by image and by patient.

    Args:
        sample_database: SQLite file of a database that is split by image.
        plan: its split; the one by patient has the same seed and shares.

    Returns:
        None where one of the two splits has no slice of a known region to learn from or to test on.
    """
    with SampleDatabase.open(sample_database) as database:
        images, labels, patients, sides = _labelled_slices(database)
        stages = database.stages_by_patient()
    side_of = {patient: side for patient, (side, _) in plan.assign(stages, {}).items()}
    by_image = _accuracy(images, labels, sides)
    by_patient = _accuracy(images, labels, np.array([side_of[patient] for patient in patients]))
    return None if by_image is None or by_patient is None else SplitBias(by_image, by_patient)


def _labelled_slices(database: SampleDatabase) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return small images, shape (n, pixels), regions, patients and sides of all slices of a known region."""
    found = []
    for slices, pixels, facts in labelled_series(database):
        for image, enhanced, known in zip(slices, enhance(pixels), facts, strict=True):
            if known.organ is not None:
                turn = Canonical.of(image.geometry)
                small = organ_input(turn.apply(enhanced), turn.spacing(image.spacing), _SIZE)
                found.append((small.ravel().astype(np.float32), known.organ, known.patient, known.side))
    images, labels, patients, sides = zip(*found, strict=True) if found else ((), (), (), ())
    return np.array(images), np.array(labels), np.array(patients), np.array(sides)


def _accuracy(images: np.ndarray, labels: np.ndarray, sides: np.ndarray) -> float | None:
    """Return the accuracy of a nearest-neighbour classifier, or None where a side is empty."""
    train, test = sides == "train", sides == "test"
    if not train.any() or not test.any():
        return None
    return float(KNeighborsClassifier(1).fit(images[train], labels[train]).score(images[test], labels[test]))
