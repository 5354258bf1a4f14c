"""Measurements of a lesion: centre and extent in patient coordinates, diameters and volume."""

from dataclasses import dataclass

import numpy as np

from nbcad.dicom import geometries
from nbcad.imaging import boxes
from nbcad.imaging.orientation import is_axial
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.inference.lesions import Lesion

Point = tuple[float, float, float]  # in patient coordinates (LPS), mm


@dataclass(frozen=True, slots=True)
class Diameters:
    """The three diameters of a lesion, in mm, as its boxes have them: places of the heat map are 8 mm apart."""

    long_axis: float  # the longer side of the box on the slice where it is largest
    short_axis: float  # the other side of that box
    craniocaudal: float | None  # over all its slices; None: their distance is not known, or their plane is not axial


def millimetres(lesion: Lesion, analysis: SeriesAnalysis) -> tuple[Point | None, tuple[Point, Point] | None]:
    """Return a lesion's centre, and its lowest and highest corner; None where the series has no geometry."""
    planes = geometries(analysis.slices)
    if planes is None:
        return None, None
    index, row, column = lesion.centre
    low = int(np.floor(index))
    high = min(low + 1, len(planes) - 1)
    ends = planes[low].pixel_to_patient(row, column), planes[high].pixel_to_patient(row, column)
    centre = ends[0] + (index - low) * (ends[1] - ends[0])
    half_step = 0.5 * (analysis.series.slice_step_mm or 0.0)
    corners = [
        planes[index].pixel_to_patient(row, column) + sign * half_step * planes[index].normal
        for index, (row0, col0, row1, col1) in lesion.boxes.items()
        for row in (row0 - 0.5, row1 - 0.5)
        for column in (col0 - 0.5, col1 - 0.5)
        for sign in (-1, 1)
    ]
    return _rounded_mm(centre), (_rounded_mm(np.min(corners, axis=0)), _rounded_mm(np.max(corners, axis=0)))


def diameters_mm(lesion: Lesion, analysis: SeriesAnalysis) -> Diameters:
    """Return a lesion's diameters; of one ellipsoid, found exactly, they are its diameters along the axes."""
    image, step = analysis.slices[0], analysis.series.slice_step_mm
    row0, column0, row1, column1 = max(lesion.boxes.values(), key=boxes.area)
    short, long = sorted(((row1 - row0) * image.spacing[0], (column1 - column0) * image.spacing[1]))
    thickness = None
    if step is not None and is_axial(image.geometry):
        thickness = round((max(lesion.boxes) - min(lesion.boxes) + 1) * step, 1)
    return Diameters(round(long, 1), round(short, 1), thickness)


def volume_mm3(lesion: Lesion, analysis: SeriesAnalysis) -> float | None:
    """Estimate of a lesion's volume: on each slice the ellipse in its box, times the distance between slices.

    Of one ellipsoid that is the usual pi/6 of the product of its three diameters. None where the series does not tell
    how far its slices are.
    """
    step = analysis.series.slice_step_mm
    if step is None:
        return None
    return round(np.pi / 4 * boxes.volume(lesion.boxes) * float(np.prod(analysis.slices[0].spacing)) * step, 1)


def _rounded_mm(point: np.ndarray) -> Point:
    x, y, z = (round(float(value), 2) for value in point)
    return x, y, z
