"""Slices without files, for what needs their geometry only."""

import numpy as np

from nbcad.dicom import USED, FileRecord, Geometry, Slice


def slices(count: int, rows: int, columns: int, along_row=(1, 0, 0), along_column=(0, 1, 0)) -> list[Slice]:
    """Axial slices of 2 mm pixels, 5 mm apart."""
    axes = np.array(along_row, float), np.array(along_column, float)
    return [
        Slice(
            source=None,
            sop_uid=str(n),
            rows=rows,
            columns=columns,
            geometry=Geometry(np.array([0, 0, 5.0 * n]), *axes, 2.0, 2.0),
            spacing=(2.0, 2.0),
            record=FileRecord("", USED),
            stored=None,
        )
        for n in range(count)
    ]
