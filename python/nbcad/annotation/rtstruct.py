"""DICOM structure sets (RTSTRUCT): contours in the patient, filled on the slices that they lie on."""

import re
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import numpy as np
import pydicom
from skimage.draw import polygon2mask

from nbcad.annotation.image_index import ImageIndex, LabelRefusedError, Masks
from nbcad.dicom import Geometry, Series, Slice
from nbcad.language.message import message


def masks_of_structures(path: Path, images: ImageIndex, pattern: re.Pattern) -> Masks:
    """Fill the ROIs that outline lesions (DICOM PS3.3 A.19, C.8.8.6) by the even-odd rule."""
    structures = pydicom.dcmread(path, force=True)  # `_source` has seen that it is DICOM
    types = {
        int(o.ReferencedROINumber): o.get("RTROIInterpretedType") or ""
        for o in structures.get("RTROIObservationsSequence", [])
    }
    names = {
        int(roi.ROINumber): f"{roi.get('ROIName', '')} {types.get(int(roi.ROINumber), '')}".strip()
        for roi in structures.StructureSetROISequence
    }
    if not any(map(pattern.search, names.values())):
        raise LabelRefusedError(
            message(
                "(3006,0020) Structure Set ROI Sequence: no ROI is named as a lesion, but {names}",
                names=", ".join(names.values()),
            )
        )
    series_uids: set[str] = set()
    masks: Masks = {}
    for series_uid, sop_uids in _referenced_by_structures(structures):
        series_uids.add(series_uid)
        seen = [image for uid in sop_uids for image in images.by_uid.get(uid, [])]
        masks |= {(i.sop_uid, i.frame): np.zeros((i.rows, i.columns), bool) for i in seen}
    stacks = [one for one in images.series if one.series_uid in series_uids]
    for roi in structures.get("ROIContourSequence", []):
        filled: Masks = {}
        if pattern.search(names.get(int(roi.ReferencedROINumber), "")):
            for contour in roi.get("ContourSequence", []):
                _add_contour(filled, contour, images, stacks)
        for key, mask in filled.items():
            masks[key] = masks.get(key, False) | mask
    if not masks:
        raise LabelRefusedError(message("(3006,0010) Referenced Frame of Reference Sequence names none of the images"))
    return masks


def _referenced_by_structures(structures: pydicom.Dataset) -> Iterator[tuple[str, list[str]]]:
    """Return Series Instance UID and SOP Instance UIDs of the contoured images (PS3.3 C.8.8.5)."""
    for reference in structures.get("ReferencedFrameOfReferenceSequence", []):
        for study in reference.get("RTReferencedStudySequence", []):
            for series in study.get("RTReferencedSeriesSequence", []):
                images = series.get("ContourImageSequence", [])
                yield str(series.SeriesInstanceUID), [str(image.ReferencedSOPInstanceUID) for image in images]


def _add_contour(filled: Masks, contour: pydicom.Dataset, images: ImageIndex, stacks: list[Series]) -> None:
    """Fill one contour of an ROI; a second one within it is a hole."""
    if contour.ContourGeometricType not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
        raise LabelRefusedError(
            message(
                "(3006,0042) Contour Geometric Type is {value}, not CLOSED_PLANAR",
                value=str(contour.ContourGeometricType),
            )
        )
    points = np.asarray(contour.ContourData, float).reshape(-1, 3)
    image = _contoured_image(contour, points, images, stacks)
    if image is None:
        return
    if image.geometry is None:
        raise LabelRefusedError(
            message("(0020,0032) Image Position (Patient) is missing in an image that is contoured")
        )
    rows, columns, off = _to_pixels(image.geometry, points)
    if np.abs(off).max() > _half_step(images, image):
        raise LabelRefusedError(
            message(
                "(3006,0050) Contour Data lies {distance} mm off the plane of the image that it refers to",
                distance=f"{np.abs(off).max():.1f}",
            )
        )
    mask = polygon2mask((image.rows, image.columns), np.stack([rows, columns], axis=1))
    middle = np.round([rows.mean(), columns.mean()]).astype(int)
    if not mask.any() and (middle >= 0).all() and (middle < mask.shape).all():  # narrower than a pixel
        mask[tuple(middle)] = True
    key = image.sop_uid, image.frame
    filled[key] = filled.get(key, False) ^ mask


def _contoured_image(
    contour: pydicom.Dataset, points: np.ndarray, images: ImageIndex, stacks: list[Series]
) -> Slice | None:
    """Return the image a contour lies on: the referenced one, or else the nearest of the referenced series.

    None: the image is not among those given.
    """
    references = contour.get("ContourImageSequence")
    if references:
        frame = int(references[0].get("ReferencedFrameNumber", 1)) - 1
        return images.by_key.get((str(references[0].ReferencedSOPInstanceUID), frame), (None, None))[1]
    distances = [
        (image, float(np.abs(_to_pixels(image.geometry, points)[2]).max()))
        for series in stacks
        for image in series.slices
        if image.geometry is not None
    ]
    if not distances:
        raise LabelRefusedError(
            message("(3006,0016) Contour Image Sequence is missing, and no image of the referenced series given")
        )
    nearest, off = min(distances, key=itemgetter(1))
    return nearest if off <= _half_step(images, nearest) else None


def _half_step(images: ImageIndex, image: Slice) -> float:
    """Return half the distance to the next slice in mm; 1 mm for a single slice."""
    step = images.by_key[image.sop_uid, image.frame][0].slice_step_mm
    return step / 2 if step else 1.0


def _to_pixels(geometry: Geometry, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convert points in mm, shape (n, 3), to row, column (0 at the first pixel's centre) and mm off the plane."""
    from_first = points - geometry.position
    return (
        from_first @ geometry.along_column / geometry.row_spacing,
        from_first @ geometry.along_row / geometry.column_spacing,
        from_first @ geometry.normal,
    )
