"""Conversion of volumes (.mha, .nii.gz) in the layout of the SPPIN 2023 challenge to MR series with a SEG.

SPPIN (sppin.grand-challenge.org) has a folder for each patient, with the images T1, T2, b0 and b100, which are not
registered to each other, and a mask of the neuroblastoma on the grid of T1. Several examinations of a patient lie in
folders of their own. The nets see T2: the mask is resampled to its grid in the scanner's coordinates, by nearest
neighbour, and the SEG says so.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import DSfloat

import nbcad
from nbcad.annotation.mask import MASK_SUFFIXES
from nbcad.dicom import IGNORED, REFUSED, USED
from nbcad.errors import InputError
from nbcad.runtime.files import replacing_folder
from nbcad.runtime.progress import progress

MASK = "mask"
# The role of a file by its name; a part of a name ends where letters and digits end.
_ROLES = {
    MASK: re.compile(r"seg|mask|label|neuroblastoma|(?<![a-z])gt(?![a-z])"),
    "T1": re.compile(r"(?<![a-z0-9])t1(?![0-9])"),
    "T2": re.compile(r"(?<![a-z0-9])t2(?![0-9])"),
    "DWI b0": re.compile(r"(?<![a-z0-9])b0(?![0-9])"),
    "DWI b100": re.compile(r"(?<![a-z0-9])b100(?![0-9])"),
}
_SAME_PLACE_MM = 1e-2


@dataclass
class Converted:
    """The fate of every file, and one line for each examination."""

    files: dict[Path, tuple[str, str]] = field(default_factory=dict)  # status and reason
    examinations: list[str] = field(default_factory=list)


def convert(source: Path, out: Path) -> Converted:
    """Write all examinations below ``source`` as DICOM.

    The images are PATIENT/[EXAMINATION/]SERIES/*.dcm, and the mask is SEG.dcm beside the series. Patient ID is the name
    of the patient's folder. UIDs follow from the names, so that a second conversion writes the same files.

    Args:
        source: folder with a folder for each patient.
        out: folder of the output, replaced as a whole.

    Raises:
        InputError: ``source`` is not a folder, or no examination has a T2 and a mask.
    """
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; give the one that holds a folder for each patient")
    converted = Converted()
    folders = sorted({path.parent for path in source.rglob("*") if path.is_file()})
    with replacing_folder(out) as temporary:
        for folder in progress(folders, desc="SPPIN", unit="folders"):
            _convert_folder(source, folder, temporary, converted)
        if not converted.examinations:
            first = next((f"; {path}: {reason}" for path, (_, reason) in converted.files.items()), "")
            raise InputError(f"{source} has no folder with an image T2 and a mask{first}")
    return converted


def _convert_folder(source: Path, folder: Path, out: Path, converted: Converted) -> None:
    """Convert one examination, and record the outcome of each file."""
    roles: dict[str, Path] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        role = next((name for name, pattern in _ROLES.items() if pattern.search(path.name.lower())), None)
        if not path.name.lower().endswith(MASK_SUFFIXES):
            converted.files[path] = IGNORED, "no volume"
        elif role is None:
            converted.files[path] = IGNORED, "its name says neither T1, T2, b0, b100 nor mask"
        elif role in roles:
            converted.files[path] = REFUSED, f"is {role} as {roles[role].name} is; keep one"
        else:
            roles[role] = path
    name = folder.relative_to(source)
    try:
        if folder == source:
            raise InputError("lies in no patient's folder")
        missing = [role for role in ("T2", MASK) if role not in roles]
        if missing:
            raise InputError(f"{' and '.join(missing)} of the examination missing")
        summary = _write_examination(name, {role: _read(path) for role, path in roles.items()}, out)
    except InputError as error:
        converted.files |= dict.fromkeys(roles.values(), (REFUSED, str(error)))
    else:
        converted.examinations.append(f"{name}: {summary}")
        converted.files |= dict.fromkeys(roles.values(), (USED, ""))


def _read(path: Path) -> sitk.Image:
    """Read a volume.

    Raises:
        InputError: it cannot be read, or is not a volume of numbers.
    """
    try:
        volume = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"{path.name} cannot be read: {str(error).strip().splitlines()[-1]}") from error
    if volume.GetDimension() != 3 or volume.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path.name} is of {volume.GetDimension()} dimensions, not a volume of one number a voxel")
    return volume


def _write_examination(name: Path, volumes: dict[str, sitk.Image], out: Path) -> str:
    """Write the series and the SEG, and return a summary of the series and the mask.

    Raises:
        InputError: the mask is on the grid of none of the images, or lies outside T2.
    """
    mask = volumes.pop(MASK) != 0
    drawn_on = next((role for role, volume in volumes.items() if _same_grid(mask, volume)), None)
    if drawn_on is None:
        sizes = ", ".join(f"{role} {volume.GetSize()}" for role, volume in volumes.items())
        raise InputError(f"the mask of {mask.GetSize()} voxels is on the grid of none of the images: {sizes}")
    on_t2 = mask if drawn_on == "T2" else sitk.Resample(mask, volumes["T2"], sitk.Transform(), sitk.sitkNearestNeighbor)
    before, after = (float(sitk.GetArrayViewFromImage(m).sum() * np.prod(m.GetSpacing()) / 1000) for m in (mask, on_t2))
    if before and not after:
        raise InputError(f"the mask's {before:.1f} mL lie outside T2")
    for number, (role, volume) in enumerate(volumes.items(), start=1):
        images = _write_series(name, role, number, volume, out)
        if role == "T2":
            how = f"drawn on {drawn_on}, {before:.1f} mL; on T2 {after:.1f} mL"
            _write_seg(images, sitk.GetArrayFromImage(on_t2), name, how, out / name / "SEG.dcm")
    return f"{', '.join(volumes)}; mask {how}"


def _same_grid(one: sitk.Image, other: sitk.Image) -> bool:
    """Return whether two volumes have the same grid in the scanner's coordinates."""
    return one.GetSize() == other.GetSize() and all(
        np.allclose(a, b, atol=_SAME_PLACE_MM)
        for a, b in (
            (one.GetOrigin(), other.GetOrigin()),
            (one.GetSpacing(), other.GetSpacing()),
            (one.GetDirection(), other.GetDirection()),
        )
    )


def _write_series(name: Path, role: str, number: int, volume: sitk.Image, out: Path) -> list[Dataset]:
    """Write one volume as an MR series with a file for each layer, DICOM PS3.3 A.4, and return the images."""
    folder = out / name / role.replace(" ", "_")
    folder.mkdir(parents=True)
    stored, slope, intercept = _stored(sitk.GetArrayFromImage(volume))
    directions = np.array(volume.GetDirection()).reshape(3, 3)
    header = _header(name, role, number)
    header.Rows, header.Columns = stored.shape[1:]
    header.PixelSpacing = [_decimal(volume.GetSpacing()[1]), _decimal(volume.GetSpacing()[0])]
    header.SliceThickness = header.SpacingBetweenSlices = _decimal(volume.GetSpacing()[2])
    header.ImageOrientationPatient = [_decimal(v) for v in (*directions[:, 0], *directions[:, 1])]
    header.PixelRepresentation = int(stored.dtype == np.int16)
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = _decimal(slope), _decimal(intercept), "US"
    images = []
    for index, layer in enumerate(stored):
        image = Dataset()
        image.update(header)
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.SOPInstanceUID = generate_uid(entropy_srcs=[header.SeriesInstanceUID, str(index)])
        image.InstanceNumber = index + 1
        image.ImagePositionPatient = [_decimal(v) for v in volume.TransformIndexToPhysicalPoint((0, 0, index))]
        image.PixelData = layer.tobytes()
        dcmwrite(folder / f"{index + 1:04d}.dcm", image, enforce_file_format=True)
        images.append(image)
    return images


def _header(name: Path, role: str, number: int) -> Dataset:
    """Return the header that a series' images share; unknown values are empty where the standard allows it."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.SOPClassUID, header.Modality = MRImageStorage, "MR"
    header.PatientID = name.parts[0]
    for keyword in (
        "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
        "ReferringPhysicianName", "Manufacturer", "PositionReferenceIndicator", "ScanOptions", "MRAcquisitionType",
        "EchoTime", "RepetitionTime", "EchoTrainLength",
    ):  # fmt: skip
        setattr(header, keyword, None)
    header.ScanningSequence, header.SequenceVariant = "RM", "NONE"  # "research mode": the volume does not say
    header.StudyInstanceUID = generate_uid(entropy_srcs=["study", *name.parts])
    header.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame of reference", *name.parts])
    header.SeriesInstanceUID = generate_uid(entropy_srcs=["series", *name.parts, role])
    header.SeriesNumber, header.SeriesDescription = number, role
    header.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    header.DerivationDescription = f"Converted from a volume named as {role} by nbcad {nbcad.__version__}"
    header.PatientPosition, header.BodyPartExamined = "", "ABDOMEN"
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
    return header


def _stored(values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return values as int16 or uint16, with the slope and intercept that restore them.

    Raises:
        InputError: a value is not finite.
    """
    if not np.isfinite(values).all():
        raise InputError("a volume has voxels that are not finite numbers")
    low, high = float(values.min()), float(values.max())
    for kind in (np.uint16, np.int16):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max and (values == np.round(values)).all():
            return values.astype(kind), 1.0, 0.0
    slope = (high - low) / np.iinfo(np.uint16).max or 1.0
    return np.round((values - low) / slope).astype(np.uint16), slope, low


def _write_seg(images: list[Dataset], mask: np.ndarray, name: Path, how: str, path: Path) -> None:
    """Write a mask on the grid of a series as a SEG, DICOM PS3.3 A.51.

    Args:
        images: of the series.
        mask: shape (layers, rows, columns).
        name: folder of the examination, relative to the source.
        how: origin of the mask, for the description.
        path: of the SEG.
    """
    tumour = SegmentDescription(
        1, "Neuroblastoma", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Neoplasm,
        SegmentAlgorithmTypeValues.MANUAL,
    )  # fmt: skip
    Segmentation(
        images, mask.astype(bool), SegmentationTypeValues.BINARY, [tumour],
        series_instance_uid=generate_uid(entropy_srcs=["seg", *name.parts]), series_number=100,
        sop_instance_uid=generate_uid(entropy_srcs=["seg instance", *name.parts]), instance_number=1,
        manufacturer="nbcad", manufacturer_model_name="nbcad.datasets.sppin", software_versions=nbcad.__version__,
        device_serial_number="none", content_description=f"Mask {how}"[:64], content_label="SEGMENTATION",
        omit_empty_frames=bool(mask.any()),  # a SEG has at least one frame, even if the lesion is gone
    ).save_as(path)  # fmt: skip


def _decimal(value: float) -> DSfloat:
    """Return a number as a Decimal String of at most 16 characters, DICOM PS3.5 6.2."""
    return DSfloat(float(value), auto_format=True)
