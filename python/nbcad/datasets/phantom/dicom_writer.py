"""Writing of acquired series as MR Image Storage objects (DICOM PS3.3 A.4, C.8.3), Explicit VR Little Endian.

Two groups of elements, each from the data dictionary, go beyond the MR Image IOD, as scanners write them: the diffusion
weighting (C.8.13.5.9) and the rescaling (C.11.1). They make the object a Standard Extended SOP Class, which may be
exchanged under the same UID (PS3.2 3.11).
"""

import hashlib
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from nbcad.datasets.phantom.acquisition import Images, Scan
from nbcad.datasets.phantom.child import Child
from nbcad.datasets.phantom.patients import Patient
from nbcad.datasets.phantom.physics import GRE
from nbcad.datasets.phantom.scanners import Protocol, Scanner

# Echoes for each excitation: a fast spin echo, one echo, a single shot. (0018,0091) Echo Train Length
_ECHO_TRAIN = {"T2": 17, "T1": 1, "DWI": 64}
_DATES = 99  # random numbers apart from those of `patients.Purpose`
_DAYS_A_MONTH = 30.4375
_PROTON_MHZ_A_TESLA = 42.577
_BIRTH_WEIGHT_KG, _GROWTH_KG_A_MONTH = 3.5, 0.24  # mean gain up to 12 years


def uid(*parts: object) -> str:
    """Return a UID made from ``parts`` alone, under the root for UUIDs (DICOM PS3.5 B.2)."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def study_header(patient: Patient, child: Child, scanner: Scanner) -> Dataset:
    """Return the header that all images of a study share: patient, study, equipment, frame of reference."""
    patient_id = patient.patient_id
    rng = np.random.default_rng([patient.seed, patient.number + 1, _DATES])
    study_date = date(2018, 1, 1) + timedelta(days=int(rng.integers(0, 360)))
    age_days = int(child.age_months * _DAYS_A_MONTH) + int(rng.integers(1, 28))
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 100"
    header.InstanceCreationDate = header.StudyDate = study_date.strftime("%Y%m%d")
    header.StudyTime = f"{int(rng.integers(8, 18)):02d}{int(rng.integers(60)):02d}00"
    header.AccessionNumber = ""
    header.Modality = "MR"
    header.Manufacturer = scanner.manufacturer
    header.ManufacturerModelName = scanner.model
    header.InstitutionName = "Digital phantom"
    header.StationName = "PHANTOM"
    header.SoftwareVersions = "nbcad.datasets.phantom"
    header.ReferringPhysicianName = ""
    header.StudyDescription = "PHANTOM: synthetic, no patient"
    header.PatientName = f"Phantom^{patient_id}"
    header.PatientID = patient_id
    header.PatientBirthDate = (study_date - timedelta(days=age_days)).strftime("%Y%m%d")
    header.PatientSex = child.sex
    header.PatientAge = f"{child.age_months:03d}M" if child.age_months < 36 else f"{child.age_months // 12:03d}Y"
    header.PatientWeight = round(_BIRTH_WEIGHT_KG + child.age_months * _GROWTH_KG_A_MONTH, 1)
    header.PatientComments = "Synthetic data made by nbcad.datasets.phantom"
    header.QualityControlImage = "YES"  # DICOM PS3.3 C.7.6.1: a phantom; nbcad.dicom reads it
    header.BodyPartExamined = "ABDOMEN"
    header.PatientPosition = "HFS"
    header.MagneticFieldStrength = scanner.field_tesla
    header.ImagingFrequency = round(_PROTON_MHZ_A_TESLA * scanner.field_tesla, 3)
    header.ImagedNucleus = "1H"
    header.StudyID = "1"
    header.StudyInstanceUID = uid(patient.seed, patient_id, "study")
    header.FrameOfReferenceUID = uid(patient.seed, patient_id, "frame of reference")
    header.PositionReferenceIndicator = ""
    return header


def add_series(header: Dataset, scan: Scan, scanner: Scanner, protocol: Protocol, number: int) -> None:
    """Add the elements that the images of one series share to the header of their study."""
    sequence = protocol.sequence
    diffusion = protocol.contrast == "DWI"
    header.SeriesInstanceUID = uid(header.StudyInstanceUID, number)
    header.SeriesNumber = number
    header.SeriesDescription = protocol.description
    header.ProtocolName = protocol.description
    header.SeriesDate, header.SeriesTime = header.StudyDate, header.StudyTime
    header.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    header.ScanningSequence = ["EP", "SE"] if diffusion else sequence.technique
    header.SequenceVariant = _variant(protocol)
    header.ScanOptions = "FS" if sequence.fat_left < 1 else ""
    header.MRAcquisitionType = "2D"
    header.RepetitionTime = sequence.repetition_ms
    header.EchoTime = sequence.echo_ms
    header.EchoTrainLength = _ECHO_TRAIN[protocol.contrast]
    header.FlipAngle = sequence.flip_deg
    header.NumberOfAverages = 4 if diffusion else 2
    header.SliceThickness = scan.thickness
    header.SpacingBetweenSlices = round(scan.spacing, 4)
    header.InPlanePhaseEncodingDirection = "ROW" if scan.transposed else "COL"
    if diffusion:
        header.DiffusionBValue = sequence.b_value
        header.DiffusionDirectionality = "ISOTROPIC" if sequence.b_value else "NONE"


def _variant(protocol: Protocol) -> str:
    """Return (0018,0021) Sequence Variant: spoiled, segmented k-space or none (PS3.3 C.8.3.1)."""
    if protocol.sequence.technique == GRE:
        return "SP"
    return "SK" if _ECHO_TRAIN[protocol.contrast] > 1 else "NONE"


class Placement:
    """The turn of canonical slices for storing, and the place of the stored pixels (PS3.3 C.7.6.2)."""

    def __init__(self, scan: Scan, images: Images):
        self.scan, self.images = scan, images
        left, posterior = scan.axes[0], scan.axes[1]
        along_row, along_column = (posterior, left) if scan.transposed else (left, posterior)
        self.rows, self.columns = images.pixels.shape[1:][:: -1 if scan.transposed else 1]
        self.along_row = -along_row if scan.flips[1] else along_row
        self.along_column = -along_column if scan.flips[0] else along_column

    def turn(self, image: np.ndarray) -> np.ndarray:
        """Turn a canonical slice into a stored one, shape (rows, columns)."""
        turned = image.T if self.scan.transposed else image
        flip_rows, flip_columns = self.scan.flips
        return turned[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]

    def position(self, number: int) -> np.ndarray:
        """Return the patient coordinates of a slice's first stored pixel, slices counted from the lowest; mm, (3,)."""
        place = self.images.corner + number * self.scan.spacing * self.scan.axes[2]
        if self.scan.flips[0]:
            place = place - (self.rows - 1) * self.images.pixel_mm * self.along_column
        if self.scan.flips[1]:
            place = place - (self.columns - 1) * self.images.pixel_mm * self.along_row
        return place


def store(pixels: np.ndarray, scanner: Scanner, top: float) -> np.ndarray:
    """Return relative signal as stored values, int16 or uint16 of the same shape; bright tissue becomes ``top``."""
    limit = 2 ** (scanner.bits_stored - scanner.signed) - 1
    return np.round(pixels * top).clip(0, limit).astype(np.int16 if scanner.signed else np.uint16)


def add_pixel_description(header: Dataset, scanner: Scanner, placement: Placement, top: float) -> None:
    """Add the image plane, the pixel format and a window up to the stored value ``top`` of one series."""
    pixel = round(placement.images.pixel_mm, 6)
    header.Rows, header.Columns = placement.rows, placement.columns
    header.PixelSpacing = [pixel, pixel]
    header.ImageOrientationPatient = [round(float(v), 9) for v in (*placement.along_row, *placement.along_column)]
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = 16
    header.BitsStored = scanner.bits_stored
    header.HighBit = scanner.bits_stored - 1
    header.PixelRepresentation = int(scanner.signed)
    slope = scanner.rescale_slope or 1.0
    # the window applies to values after the modality LUT, PS3.3 C.11.2.1.2
    header.WindowCenter, header.WindowWidth = round(top * slope / 2, 1), round(top * slope, 1)
    if scanner.rescale_slope is not None:
        header.RescaleIntercept = 0
        header.RescaleSlope = slope
        header.RescaleType = "US"  # unspecified unit, PS3.3 C.11.1.1.2


def write_image(header: Dataset, path: Path, stored: np.ndarray, position: np.ndarray, instance: int) -> str:
    """Write one image, and return its SOP Instance UID.

    Args:
        header: of its study and series; elements of a single image are replaced.
        path: of the new file.
        stored: int16 or uint16, shape (rows, columns).
        position: (0020,0032) Image Position (Patient), mm, shape (3,).
        instance: (0020,0013) Instance Number.
    """
    header.SOPClassUID = MRImageStorage
    header.SOPInstanceUID = uid(header.SeriesInstanceUID, "image", instance)
    header.InstanceNumber = instance
    header.AcquisitionNumber = 1
    header.ImagePositionPatient = [round(float(v), 6) for v in position]
    header.SliceLocation = round(float(position[2]), 4)
    header.PixelData = stored.tobytes()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, header, enforce_file_format=True)
    return str(header.SOPInstanceUID)
