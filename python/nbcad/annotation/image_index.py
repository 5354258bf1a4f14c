"""The slices of all series by UID and frame, and the masks that label files give them."""

import numpy as np

from nbcad.dicom import Series, Slice
from nbcad.dicom.refusal import Refusal

Key = tuple[str, int]  # SOP Instance UID, frame
Masks = dict[Key, np.ndarray]  # bool, shape (rows, columns): where the lesions are; every slice that was looked at


class LabelRefusedError(Refusal):
    """A label file cannot be used."""


class ImageIndex:
    """The images that labels may belong to."""

    def __init__(self, series: list[Series]):
        self.series = series
        self.by_key: dict[Key, tuple[Series, Slice]] = {}
        self.by_uid: dict[str, list[Slice]] = {}  # every frame of one SOP Instance
        for one in series:
            for image in one.slices:
                self.by_key[image.sop_uid, image.frame] = one, image
                self.by_uid.setdefault(image.sop_uid, []).append(image)
