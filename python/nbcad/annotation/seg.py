"""DICOM segmentations (SEG): a binary mask for each slice that a segment covers."""

import re
from pathlib import Path

import highdicom
import numpy as np
import pydicom

from nbcad.annotation.image_index import ImageIndex, LabelRefusedError, Masks
from nbcad.annotation.mask import SAME_GRID
from nbcad.dicom import Slice
from nbcad.language.message import message


def masks_of_segmentation(path: Path, images: ImageIndex, pattern: re.Pattern) -> Masks:
    """Segments that outline lesions (DICOM PS3.3 A.51), on the images that the object refers to."""
    segmentation = highdicom.seg.segread(path)
    described = {n: segmentation.get_segment_description(n) for n in segmentation.get_segment_numbers()}
    names = {n: f"{d.segment_label} {d.segmented_property_type.meaning}" for n, d in described.items()}
    numbers = [n for n, name in names.items() if pattern.search(name)]
    if not numbers:
        raise LabelRefusedError(
            message(
                "(0062,0002) Segment Sequence: no segment is named as a lesion, but {names}",
                names=", ".join(names.values()),
            )
        )
    referenced = [str(uids[-1]) for uids in segmentation.get_source_image_uids()]
    used = {uid: found for uid in referenced if (found := images.by_uid.get(uid))}
    if not used:
        raise LabelRefusedError(message("(0008,1115) Referenced Series Sequence names none of the images"))
    _refuse_other_sizes(segmentation, [image for found in used.values() for image in found])
    _refuse_other_planes(segmentation, images)
    masks: Masks = {}
    single = [uid for uid, found in used.items() if len(found) == 1 and found[0].frame == 0]
    if single:
        pixels = segmentation.get_pixels_by_source_instance(
            single,
            segment_numbers=numbers,
            ignore_spatial_locations=True,  # (0028,135A); where the planes lie was checked just now
            assert_missing_frames_are_empty=True,
        )
        masks |= {(uid, 0): (of_slice >= 0.5).any(axis=-1) for uid, of_slice in zip(single, pixels, strict=True)}
    for uid in used.keys() - set(single):
        frames = [image.frame for image in used[uid]]
        pixels = segmentation.get_pixels_by_source_frame(
            uid,
            [frame + 1 for frame in frames],
            segment_numbers=numbers,
            ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True,
        )
        masks |= {(uid, frame): (m >= 0.5).any(axis=-1) for frame, m in zip(frames, pixels, strict=True)}
    return masks


def _refuse_other_sizes(segmentation: pydicom.Dataset, images: list[Slice]) -> None:
    size = segmentation.Rows, segmentation.Columns
    for image in images:
        if size != (image.rows, image.columns):
            raise LabelRefusedError(
                message(
                    "(0028,0010) Rows and (0028,0011) Columns are {size}, those of the image {image_size}",
                    size=str(size),
                    image_size=str((image.rows, image.columns)),
                )
            )


def _refuse_other_planes(segmentation: pydicom.Dataset, images: ImageIndex) -> None:
    """Refuse a segment whose frame does not lie where its source image lies (PS3.3 C.7.6.16.2.3)."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for number, groups in enumerate(segmentation.PerFrameFunctionalGroupsSequence, start=1):
        sources = [s for d in groups.get("DerivationImageSequence", []) for s in d.get("SourceImageSequence", [])]
        if not sources:
            raise LabelRefusedError(
                message("(0008,2112) Source Image Sequence is missing in frame {number}", number=number)
            )
        position = groups.get("PlanePositionSequence", shared.get("PlanePositionSequence"))
        frame = int(sources[0].get("ReferencedFrameNumber", 1)) - 1
        _, image = images.by_key.get((str(sources[0].ReferencedSOPInstanceUID), frame), (None, None))
        if position is None or image is None or image.geometry is None:
            continue
        off = np.subtract(position[0].ImagePositionPatient, image.geometry.position).astype(float)
        if np.abs(off).max() > SAME_GRID * min(image.spacing):
            raise LabelRefusedError(
                message(
                    "(0020,0032) Image Position (Patient) of frame {number} is {distance} mm off that of its source "
                    "image",
                    number=number,
                    distance=f"{np.linalg.norm(off):.2f}",
                )
            )
