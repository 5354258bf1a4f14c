"""Masks in NIfTI, NRRD or MetaImage files: put on the slices of the series whose grid they share."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nbcad.annotation.image_index import LabelRefusedError, Masks
from nbcad.dicom import Geometry, Series, Slice, geometries
from nbcad.language.message import Message, message

MASK_SUFFIXES = (".mha", ".mhd", ".nii", ".nii.gz", ".nrrd")
SAME_GRID = 0.05  # of a voxel: float32 in a NIfTI header is good for a hundredth
_MOST_VOXELS = 1 << 30  # of a mask, so that a wrong header does not fill the memory
_MOST_LABELS = 32  # different values of a mask; a volume with more is taken for an image


def masks_of_volume(path: Path, series: list[Series]) -> Masks:
    """Read a volume whose non-zero voxels are lesions, on the grid of one patient's series.

    It belongs to the series whose UID its name holds, else to those whose files lie in its folder or below.
    """
    header = sitk.ImageFileReader()
    header.SetFileName(str(path))
    header.ReadImageInformation()
    if header.GetDimension() != 3 or header.GetNumberOfComponents() != 1:
        raise LabelRefusedError(
            message("is of {count} dimensions, not a volume of one number a voxel", count=header.GetDimension())
        )
    if np.prod(header.GetSize(), dtype=float) > _MOST_VOXELS:
        raise LabelRefusedError(
            message("is of {size} voxels, more than {most}", size=str(header.GetSize()), most=_MOST_VOXELS)
        )
    volume = header.Execute()
    values = np.unique(sitk.GetArrayViewFromImage(volume))
    if len(values) > _MOST_LABELS:
        raise LabelRefusedError(message("holds {count} different values: an image, not a mask", count=len(values)))
    named = [one for one in series if one.series_uid in path.name]
    folder = path.absolute().parent
    beside = [one for one in series if one.slices[0].source.path.absolute().is_relative_to(folder)]
    candidates = named or beside
    if not candidates:
        raise LabelRefusedError(
            message("belongs to no series: put it beside the images, or name it by the Series Instance UID")
        )
    masks: Masks = {}
    mismatches: list[LabelRefusedError] = []
    owners = set()
    for one in candidates:
        try:
            masks |= _on_slices(volume, one)
            owners.add(one.patient_id)
        except LabelRefusedError as error:
            mismatches.append(error)
    if not masks:
        raise mismatches[0]
    if len(owners) > 1:
        raise LabelRefusedError(
            message("fits the grid of {count} patients' series; name it by the Series Instance UID", count=len(owners))
        )
    return masks


def _on_slices(volume: sitk.Image, series: Series) -> Masks:
    """Return the layer of a mask on each slice, with rows and columns turned as the image's are."""
    planes = geometries(series.slices)
    if planes is None:
        raise LabelRefusedError(message("(0020,0032) Image Position (Patient) is missing in the series it lies beside"))
    voxels = sitk.GetArrayViewFromImage(volume) != 0  # (k, j, i)
    masks = {}
    for image, plane in zip(series.slices, planes, strict=True):
        corners = ((0, 0), (1, 0), (0, 1))
        first, down, right = (
            np.array(volume.TransformPhysicalPointToContinuousIndex(plane.pixel_to_patient(*c))) for c in corners
        )
        steps = np.stack([down - first, right - first])
        turn = np.round(steps).astype(int)
        place = np.round(first).astype(int)
        last = place + turn[0] * (image.rows - 1) + turn[1] * (image.columns - 1)
        size = np.abs(last - place) + 1 + (len(series.slices) - 1) * (np.abs(turn).sum(axis=0) == 0)
        # an error of the step adds up over the image
        off = max(np.abs(first - place).max(), (np.abs(steps - turn).max(axis=1) * (image.rows, image.columns)).max())
        inside = (np.minimum(place, last) >= 0).all() and (np.maximum(place, last) < volume.GetSize()).all()
        if off > SAME_GRID or not inside or (size != volume.GetSize()).any():
            raise LabelRefusedError(_mismatch(volume, image, plane, len(planes)))
        rows, columns = np.indices((image.rows, image.columns))
        i, j, k = (place[a] + turn[0, a] * rows + turn[1, a] * columns for a in range(3))
        masks[image.sop_uid, image.frame] = voxels[k, j, i]
    return masks


def _mismatch(volume: sitk.Image, image: Slice, plane: Geometry, slices: int) -> Message:
    def numbers(values: Iterable[float]) -> str:
        return " x ".join(f"{v:.4g}" for v in values)

    def place(point: Iterable[float]) -> str:
        return ", ".join(f"{v:.2f}" for v in point)

    return message(
        "is not on the image's grid: {voxels} voxels of {voxel_mm} mm from ({origin}); the series has {slices} slices "
        "of {pixels} pixels of {pixel_mm} mm, one from ({position}); resample it",
        voxels=numbers(volume.GetSize()),
        voxel_mm=numbers(volume.GetSpacing()),
        origin=place(volume.GetOrigin()),
        slices=slices,
        pixels=f"{image.rows} x {image.columns}",
        pixel_mm=numbers(image.spacing),
        position=place(plane.position),
    )
