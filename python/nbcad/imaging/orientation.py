"""The canonical orientation: rows run to posterior, columns to the patient's left."""

from dataclasses import dataclass

import numpy as np

from nbcad.dicom import Geometry
from nbcad.imaging.boxes import Box


def is_axial(geometry: Geometry | None) -> bool:
    """Return whether a plane is axial rather than coronal or sagittal; an unknown one is not."""
    return geometry is not None and int(np.argmax(np.abs(geometry.normal))) == 2


@dataclass(frozen=True)
class Canonical:
    """The turn of a stored axial slice after which rows run to posterior and columns to the patient's left.

    Slices without geometry, and planes other than axial, are left as they are.
    """

    transposed: bool
    rows_flipped: bool
    columns_flipped: bool

    @classmethod
    def of(cls, geometry: Geometry | None) -> "Canonical":
        """Return the turn that a plane needs."""
        if geometry is None or not is_axial(geometry):
            return cls(False, False, False)
        transposed = abs(geometry.along_row[0]) < abs(geometry.along_column[0])
        to_left, to_posterior = geometry.along_row, geometry.along_column
        if transposed:
            to_left, to_posterior = to_posterior, to_left
        return cls(bool(transposed), bool(to_posterior[1] < 0), bool(to_left[0] < 0))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Turn a stored slice, shape (rows, columns)."""
        turned = image.T if self.transposed else image
        return np.ascontiguousarray(turned[:: -1 if self.rows_flipped else 1, :: -1 if self.columns_flipped else 1])

    def spacing(self, spacing: tuple[float, float]) -> tuple[float, float]:
        """Return the spacing of the turned slice, in mm between rows and between columns."""
        return spacing[::-1] if self.transposed else spacing

    def shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return the (rows, columns) of the turned slice."""
        return shape[::-1] if self.transposed else shape

    def box_to_canonical(self, box: Box, shape: tuple[int, int]) -> Box:
        """Return a box of the stored slice, which has this shape, as it lies in the turned slice."""
        row0, col0, row1, col1 = box
        if self.transposed:
            row0, col0, row1, col1 = col0, row0, col1, row1
        return self._flip((row0, col0, row1, col1), self.shape(shape))

    def box_to_stored(self, box: Box, shape: tuple[int, int]) -> Box:
        """Return a box of the turned slice as it lies in the stored slice, which has this shape."""
        row0, col0, row1, col1 = self._flip(box, self.shape(shape))
        return (col0, row0, col1, row1) if self.transposed else (row0, col0, row1, col1)

    def _flip(self, box: Box, turned_shape: tuple[int, int]) -> Box:
        """Flip a box as the rows and columns of the slice are flipped."""
        row0, col0, row1, col1 = box
        if self.rows_flipped:
            row0, row1 = turned_shape[0] - row1, turned_shape[0] - row0
        if self.columns_flipped:
            col0, col1 = turned_shape[1] - col1, turned_shape[1] - col0
        return row0, col0, row1, col1
