"""What the sample database knows of the series on one side of the split, for models to be held against."""

import sqlite3
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
from nbcad.samples import database


@dataclass
class Truth:
    """What the database says of one series, slice by slice."""

    patient: str
    stage: str
    organs: list[str | None]  # n, None: not known
    looked_at: list[bool]  # n, false: whether the slice shows a lesion is not known
    lesions: list[dict[int, Box]]  # boxes by slice index

    def judged(self, found: list[Lesion]) -> list[Lesion]:
        """Those lesions of which it can be said whether they are true: centred on a slice that was looked at."""
        return [lesion for lesion in found if self.looked_at[round(lesion.centre[0])]]


def read_split(connection: sqlite3.Connection, split: str) -> Iterator[tuple[int, Truth]]:
    """Every series of one side of the split, by its number in the database, with its truth; each patient's together.

    Raises:
        DatabaseError: no patient is on that side; split by image, none is on any.
    """
    rows = connection.execute(
        "SELECT series, patient, stage FROM series JOIN study USING (study) JOIN patient USING (patient)"
        " JOIN split USING (patient) WHERE side = ? ORDER BY min(series) OVER (PARTITION BY patient), series",
        (split,),
    ).fetchall()
    if not rows:
        raise DatabaseError(f"the sample database has no {split} patient; add patients, or split by patient")
    for row in progress(rows, desc=split, unit="series"):
        slices = connection.execute(
            "SELECT slice, organ, lesions_known FROM slice_label WHERE series = ? ORDER BY slice", (row["series"],)
        ).fetchall()
        boxes = [_lesion_boxes(connection, image["slice"]) for image in slices]
        yield (
            row["series"],
            Truth(
                patient=row["patient"],
                stage=row["stage"],
                organs=[image["organ"] for image in slices],
                looked_at=[bool(image["lesions_known"]) for image in slices],
                lesions=[by_slice(group, boxes) for group in link(boxes)],
            ),
        )


def check_unchanged(number: int, truth: Truth, slices: list[Slice]) -> None:
    """Raise `DatabaseError` if other slices of a series can be read than the database knows."""
    if len(slices) != len(truth.looked_at):
        raise DatabaseError(f"the files of series {number} in the database have changed; build it anew")


def heat_of_split(
    connection: sqlite3.Connection, split: str, weights: Path, n4: bool
) -> Iterator[tuple[Truth, list[Slice], np.ndarray, np.ndarray]]:
    """What a stager gives on every series of one side of the split: truth, n slices, enhanced volume and heat.

    Args:
        connection: of the sample database.
        split: the side.
        weights: caffemodel of the stage net.
        n4: as in preprocessing.

    Yields:
        The volume is uint8 of shape (n, rows, columns), the heat as of `heat.heat_maps`.

    Raises:
        DatabaseError: no patient is on that side, or a file is gone or changed.
        ModelError: the weights are missing or of another net.
    """
    net, transform = heat.to_fully_convolutional(weights), caffe_net.transform_of(heat.TRAIN_VAL)
    for number, truth in read_split(connection, split):
        slices, pixels = read_pixels(database.load_series(connection, number)[0])
        check_unchanged(number, truth, slices)
        volume = enhance(pixels, n4)
        yield truth, slices, volume, heat.heat_maps(net, transform, slices, volume)


def _lesion_boxes(connection: sqlite3.Connection, number: int) -> list[Box]:
    rows = connection.execute("SELECT row0, col0, row1, col1 FROM lesion_box WHERE slice = ?", (number,))
    return [tuple(row) for row in rows]
