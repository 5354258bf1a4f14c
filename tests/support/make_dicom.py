"""Small MR images for tests, written to disk as a scanner would."""

import copy
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

import jpeg_lossless


def mr_image(pixels: np.ndarray, position=(0.0, 0.0, 0.0), **elements) -> Dataset:
    """An axial T2-weighted MR image of 2 mm pixels; ``elements`` replace or, being None, remove elements."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.1", "2.25.2"
    dataset.PatientID, dataset.PatientName, dataset.Modality = "P1", "Test^Child", "MR"
    dataset.SeriesDescription = "T2 TSE axial"
    dataset.ImagePositionPatient = list(position)
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [2, 2]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.PixelData = pixels.astype(np.uint16).tobytes()
    for keyword, value in elements.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


# Sequence of a functional group -> its attribute -> where a classic image has it (DICOM PS3.3 C.7.6.16.2, C.8.13.5).
_GROUPS = {
    "PixelMeasuresSequence": {"PixelSpacing": "PixelSpacing"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PixelValueTransformationSequence": {"RescaleSlope": "RescaleSlope", "RescaleIntercept": "RescaleIntercept"},
    "MRTimingAndRelatedParametersSequence": {"RepetitionTime": "RepetitionTime"},
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRDiffusionSequence": {"DiffusionBValue": "DiffusionBValue"},
    "MRImageFrameTypeSequence": {"FrameType": "ImageType"},
    "FrameContentSequence": {"TemporalPositionIndex": "TemporalPositionIdentifier"},
}
_SHARED = ("PixelMeasuresSequence", "PlaneOrientationSequence", "MRTimingAndRelatedParametersSequence")


def enhanced(images: list[Dataset]) -> Dataset:
    """Classic images as the frames of one Enhanced MR object: what differs and what does not in functional groups."""
    dataset = copy.deepcopy(images[0])
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for attributes in _GROUPS.values():
        for keyword in attributes.values():
            if keyword in dataset:
                delattr(dataset, keyword)
    dataset.NumberOfFrames = len(images)
    dataset.PixelData = b"".join(image.PixelData for image in images)
    dataset.SharedFunctionalGroupsSequence = [_groups(images[0], _SHARED)]
    own = [name for name in _GROUPS if name not in _SHARED]
    dataset.PerFrameFunctionalGroupsSequence = [_groups(image, own) for image in images]
    return dataset


def _groups(image: Dataset, names) -> Dataset:
    item = Dataset()
    for name in names:
        group = Dataset()
        for keyword, classic in _GROUPS[name].items():
            if classic in image:
                setattr(group, keyword, image[classic].value)
        if len(group):
            setattr(item, name, [group])
    return item


def as_stored(dataset: Dataset, syntax: UID) -> Dataset:
    """A copy of an image in another transfer syntax."""
    dataset = copy.deepcopy(dataset)
    if syntax in (RLELossless, JPEG2000Lossless, JPEGLSLossless):
        dataset.compress(syntax, generate_instance_uid=False)
        return dataset
    if syntax == JPEGLosslessSV1:
        jpeg_lossless.compress(dataset)
        return dataset
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    return dataset


def write(dataset: Dataset, path: Path) -> Path:
    """Write a dataset as a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path
