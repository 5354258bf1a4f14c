"""A series of MR images, and labels of it as a SEG, an RT Structure Set and a mask."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from make_dicom import mr_image, write

STRAIGHT = ((1, 0, 0), (0, 1, 0))
OBLIQUE = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0))
FLIPPED = ((0, -1, 0), (-1, 0, 0))  # rows run to the right, columns to the front


def series(folder: Path, rng, number=1, slices=6, shape=(40, 48), axes=STRAIGHT, step=5.0) -> list[Dataset]:
    """One patient's series of 2 x 1.5 mm pixels, written to ``folder`` and returned from foot to head."""
    along_row, along_column = map(np.array, axes)
    normal = np.cross(along_row, along_column)
    normal = normal if normal[2] > 0 else -normal
    datasets = []
    for index in range(slices):
        image = mr_image(rng.integers(50, 900, shape), np.array([-30.0, -20.0, 7.0]) + index * step * normal)
        image.PatientID = f"P{number}"
        image.PatientBirthDate, image.PatientSex, image.StudyID, image.StudyDate = "", "", "1", "20180101"
        image.StudyTime, image.AccessionNumber, image.ReferringPhysicianName = "", "", ""
        image.StudyInstanceUID, image.SeriesInstanceUID = f"2.25.{number}", f"2.25.{number}.1"
        image.FrameOfReferenceUID, image.SeriesNumber, image.InstanceNumber = f"2.25.{number}.9", 1, index + 1
        image.ImageOrientationPatient = [*map(float, along_row), *map(float, along_column)]
        image.PixelSpacing, image.SliceThickness = [2.0, 1.5], step
        image.Manufacturer, image.SpacingBetweenSlices = "", step
        write(image, folder / f"{index:03d}")
        datasets.append(image)
    return datasets


def lesion(shape=(6, 40, 48)) -> np.ndarray:
    """Slices 1 and 2 have one lesion, slice 3 two; box (10, 12, 20, 30), on slice 3 also (25, 5, 31, 9)."""
    mask = np.zeros(shape, bool)
    mask[1:4, 10:20, 12:30] = True
    mask[3, 25:31, 5:9] = True
    return mask


def describe(number=1, label="Tumour", kind=codes.SCT.Neoplasm) -> SegmentDescription:
    return SegmentDescription(
        number, label, codes.SCT.MorphologicallyAbnormalStructure, kind, SegmentAlgorithmTypeValues.MANUAL
    )


def seg(path: Path, images: list[Dataset], masks: np.ndarray, kind=SegmentationTypeValues.BINARY, segments=None):
    """A SEG of masks, shape (slices, rows, columns[, segments])."""
    segmentation = Segmentation(
        images, masks, kind, segments or [describe()], generate_uid(), 2, generate_uid(), 1, "nbcad", "tests", "1", "1"
    )
    segmentation.save_as(path)
    return path


def structures(path: Path, images: list[Dataset], contours: list[tuple[int, np.ndarray]], name="GTV 1", refer=True):
    """An RT Structure Set of one ROI; contours are (slice, points) with points (n, 2) as row and column index."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = RTStructureSetStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Modality, dataset.PatientID = "RTSTRUCT", images[0].PatientID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = images[0].StudyInstanceUID, generate_uid()
    study, of_series, frame = Dataset(), Dataset(), Dataset()
    of_series.SeriesInstanceUID = images[0].SeriesInstanceUID
    of_series.ContourImageSequence = [_reference(image) for image in images]
    study.RTReferencedSeriesSequence = [of_series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = images[0].FrameOfReferenceUID, [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    roi, drawn = Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, drawn.ReferencedROINumber = 7, name, 7
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [roi], [drawn]
    drawn.ContourSequence = []
    for index, points in contours:
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
        if refer:
            contour.ContourImageSequence = [_reference(images[index])]
        contour.ContourData = [f"{v:.4f}" for v in _in_patient(images[index], points).ravel()]
        drawn.ContourSequence.append(contour)
    return write(dataset, path)


def mask(path: Path, images: list[Dataset], values: np.ndarray, **edits):
    """A mask volume of shape (slices, rows, columns) on the images' grid; ``edits`` replace spacing or origin."""
    first, last = images[0], images[-1]
    along_row, along_column = np.split(np.array(first.ImageOrientationPatient, float), 2)
    volume = sitk.GetImageFromArray(values.astype(np.uint8))
    step = np.subtract(last.ImagePositionPatient, first.ImagePositionPatient).astype(float) / (len(images) - 1)
    length = np.linalg.norm(step)
    rows, columns = map(float, first.PixelSpacing)
    volume.SetSpacing(edits.get("spacing", (columns, rows, length)))
    volume.SetOrigin(edits.get("origin", tuple(map(float, first.ImagePositionPatient))))
    volume.SetDirection(np.stack([along_row, along_column, step / length], axis=1).ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(volume, str(path))
    return path


def _reference(image: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    return item


def _in_patient(image: Dataset, points: np.ndarray) -> np.ndarray:
    """DICOM PS3.3 C.7.6.2.1.1."""
    along_row, along_column = np.split(np.array(image.ImageOrientationPatient, float), 2)
    rows, columns = map(float, image.PixelSpacing)
    position = np.array(image.ImagePositionPatient, float)
    return position + points[:, 1:] * columns * along_row + points[:, :1] * rows * along_column
