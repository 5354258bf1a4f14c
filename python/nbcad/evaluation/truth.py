"""What the sample database knows of the series on one side of the split, for models to be held against."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nbcad.dicom import Slice, read_pixels
from nbcad.errors import DatabaseError
from nbcad.imaging.boxes import Box, by_slice, link
from nbcad.imaging.preprocess import enhance
from nbcad.inference import heat
from nbcad.inference.lesions import Lesion
from nbcad.nets import caffe_net
from nbcad.runtime.progress import progress
from nbcad.samples.database import SampleDatabase
from nbcad.samples.images import load_series


@dataclass
class Truth:
    """The database's annotations of one series, slice by slice."""

    patient: str
    stage: str
    organs: list[str | None]  # n, None: not known
    looked_at: list[bool]  # n, false: whether the slice shows a lesion is not known
    lesions: list[dict[int, Box]]  # boxes by slice index

    def judged(self, found: list[Lesion]) -> list[Lesion]:
        """Those lesions of which it can be said whether they are true: centred on a slice that was looked at."""
        return [lesion for lesion in found if self.looked_at[round(lesion.centre[0])]]


def read_split(database: SampleDatabase, side: str) -> Iterator[tuple[int, Truth]]:
    """Yield the number and the truth of every series on one side of the split, those of one patient together.

    Raises:
        DatabaseError: no patient is on that side; in a database split by image, none is on any.
    """
    all_series = database.series_on(side)
    if not all_series:
        raise DatabaseError(f"the sample database has no {side} patient; add patients, or split by patient")
    for series in progress(all_series, desc=side, unit="series"):
        slices = database.facts_of(series.series)
        boxes = [database.boxes_on(known.slice) for known in slices]
        yield (
            series.series,
            Truth(
                patient=series.patient,
                stage=series.stage,
                organs=[known.organ for known in slices],
                looked_at=[known.lesions_known for known in slices],
                lesions=[by_slice(group, boxes) for group in link(boxes)],
            ),
        )


def check_unchanged(number: int, truth: Truth, slices: list[Slice]) -> None:
    """Raise `DatabaseError` if the slices of a series that can be read are not those that the database knows."""
    if len(slices) != len(truth.looked_at):
        raise DatabaseError(f"the files of series {number} in the database have changed; rebuild the database")


def heat_of_split(
    database: SampleDatabase, side: str, weights: Path, n4: bool
) -> Iterator[tuple[Truth, list[Slice], np.ndarray, np.ndarray]]:
    """Run a stager over every series on one side of the split.

    Args:
        database: the sample database.
        side: "train", "val" or "test".
        weights: caffemodel of the stage net.
        n4: as in preprocessing.

    Yields:
        The truth of a series, its n slices, the enhanced volume (uint8, shape (n, rows, columns)), and the heat as
        `heat.heat_maps` returns it.

    Raises:
        DatabaseError: no patient is on that side, or a file is gone or changed.
        ModelError: the weights are missing or of another net.
    """
    net, transform = heat.to_fully_convolutional(weights), caffe_net.transform_of(heat.TRAIN_VAL)
    for number, truth in read_split(database, side):
        slices, pixels = read_pixels(load_series(database, number)[0])
        check_unchanged(number, truth, slices)
        volume = enhance(pixels, n4)
        yield truth, slices, volume, heat.heat_maps(net, transform, slices, volume)
