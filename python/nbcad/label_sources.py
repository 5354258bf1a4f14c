"""Label files: what each says of which slice. CSV, DICOM SEG, RT Structure Set, and masks on the image's grid.

All but the CSV outline lesions and know neither stage nor region; those come from a table of the patients. Each
connected part of an outline on a slice becomes one box.
"""

import csv
import hashlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import RTStructureSetStorage, SegmentationStorage
from scipy import ndimage
from skimage.draw import polygon2mask

from nbcad.annotations import HEADER, PatientLabel, SliceAnnotation, read_annotations
from nbcad.errors import InputError
from nbcad.labels import NORMAL
from nbcad.preprocess import Box
from nbcad.series import REFUSED, USED, Geometry, Series, Slice, geometries
from nbcad.series.sources import MALFORMED, one_line

LESIONS = "tumou?r|lesion|neoplasm|neuroblastoma|metasta|gtv"  # names of segments and ROIs that outline lesions
MASK_SUFFIXES = (".mha", ".mhd", ".nii", ".nii.gz", ".nrrd")
SAME_GRID = 0.05  # of a voxel: float32 in a NIfTI header is good for a hundredth
_MOST_VOXELS = 1 << 30  # of a mask, so that a wrong header does not fill the memory
_MOST_LABELS = 32  # different values of a mask; a volume with more is taken for an image
_OBJECTS: dict[str, str] = {SegmentationStorage: "seg", RTStructureSetStorage: "rtstruct"}

Key = tuple[str, int]  # SOP Instance UID, frame
Masks = dict[Key, np.ndarray]  # bool, shape (rows, columns): where the lesions are; every slice that was looked at


class _RefusedError(Exception):
    """A label file cannot be used; the message says why."""


@dataclass
class LabelFile:
    """One label file: where it lies, and what it says of which slice."""

    path: Path
    source: str  # "csv", "seg", "rtstruct" or "mask"
    sha256: str
    status: str = USED
    reason: str = ""
    slices: dict[Key, SliceAnnotation] = field(default_factory=dict)


class _Images:
    """The images that labels may belong to."""

    def __init__(self, series: list[Series]):
        self.series = series
        self.by_key: dict[Key, tuple[Series, Slice]] = {}
        self.by_uid: dict[str, list[Slice]] = {}  # every frame of one SOP Instance
        for one in series:
            for image in one.slices:
                self.by_key[image.sop_uid, image.frame] = one, image
                self.by_uid.setdefault(image.sop_uid, []).append(image)


def read_labels(
    paths: Iterable[Path], series: list[Series], patients: dict[str, PatientLabel], lesions: str = LESIONS
) -> list[LabelFile]:
    """Read all label files among ``paths``.

    Args:
        paths: label files, or folders, of which everything in them that is a label file is taken.
        series: of the images.
        patients: result of `annotations.read_patients`; may be empty for CSVs.
        lesions: regular expression; names of segments and ROIs that outline lesions. Case does not count.

    Returns:
        The label files in the order given. Of a SEG, a structure set or a mask that cannot be used, ``status`` is
        refused and ``reason`` says why, naming the tag.

    Raises:
        InputError: a path does not exist or is no label file; a CSV is malformed.
    """
    images = _Images(series)
    pattern = re.compile(lesions, re.IGNORECASE)
    readers: dict[str, Callable[[Path], Masks]] = {
        "seg": lambda path: _seg_masks(path, images, pattern),
        "rtstruct": lambda path: _rtstruct_masks(path, images, pattern),
        "mask": lambda path: _mask_masks(path, images.series),
    }
    files = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of a file's oddities becomes a reason
        for path, source in _label_files(paths):
            file = LabelFile(path, source, hashlib.sha256(path.read_bytes()).hexdigest())
            files.append(file)
            if source == "csv":
                file.slices = read_annotations(path)
                continue
            try:
                file.slices = _annotations(readers[source](path), images, patients)
            except _RefusedError as error:
                file.status, file.reason = REFUSED, str(error)
            except MALFORMED as error:
                file.status, file.reason = REFUSED, f"cannot be read: {one_line(error)}"
    return files


def boxes(mask: np.ndarray) -> list[Box]:
    """One box for each connected part (corners connect) of a mask, bool of shape (rows, columns)."""
    parts, _ = ndimage.label(mask, np.ones((3, 3)))
    return [
        (float(rows.start), float(columns.start), float(rows.stop), float(columns.stop))
        for rows, columns in ndimage.find_objects(parts)
    ]


def _label_files(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Every label file once, with its kind."""
    seen = set()
    for path in map(Path, paths):
        if not path.exists():
            raise InputError(f"label file {path} does not exist")
        for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
            source = _source(file)
            if source is None and file is path:
                raise InputError(f"{path} is neither an annotation CSV nor a DICOM SEG, an RT Structure Set or a mask")
            if source is not None and file.resolve() not in seen:
                seen.add(file.resolve())
                yield file, source


def _source(path: Path) -> str | None:
    """Which kind of label file this is; None: none."""
    name = path.name.lower()
    if name.endswith(".csv"):
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            return "csv" if next(csv.reader(file), None) == HEADER else None
    if name.endswith(MASK_SUFFIXES):
        return "mask"
    try:
        sop_class = read_file_meta_info(path).get("MediaStorageSOPClassUID") or _sop_class_without_preamble(path)
    except InvalidDicomError:
        sop_class = _sop_class_without_preamble(path)
    except MALFORMED:
        return None
    return _OBJECTS.get(str(sop_class))


def _sop_class_without_preamble(path: Path) -> str | None:
    """(0008,0016) SOP Class UID of a data set that begins at once, as systems wrote them before PS3.10."""
    with path.open("rb") as file:
        if file.read(2) != b"\x08\x00":  # group 0008, little endian
            return None
    try:
        return pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=["SOPClassUID"]).SOPClassUID
    except MALFORMED:
        return None


def _annotations(masks: Masks, images: _Images, patients: dict[str, PatientLabel]) -> dict[Key, SliceAnnotation]:
    """Boxes with the patient's stage; slices that show a lesion also bear the patient's organ, if it is known."""
    slices = {}
    for key, mask in masks.items():
        found = boxes(mask)
        annotation = slices[key] = SliceAnnotation(lesions_known=True)
        if not found:
            continue
        label = patients.get(images.by_key[key][0].patient_id)
        if label is None:
            raise _RefusedError("outlines a lesion, but its patient's stage is not known; give --stages a row for it")
        if label.stage == NORMAL:
            raise _RefusedError("outlines a lesion of a patient whose stage is normal; correct one of the two")
        annotation.organ = label.organ
        annotation.lesions = [(label.stage, box) for box in found]
    return slices


def _seg_masks(path: Path, images: _Images, pattern: re.Pattern) -> Masks:
    """Segments that outline lesions (DICOM PS3.3 A.51), on the images that the object refers to."""
    segmentation = highdicom.seg.segread(path)
    described = {n: segmentation.get_segment_description(n) for n in segmentation.get_segment_numbers()}
    names = {n: f"{d.segment_label} {d.segmented_property_type.meaning}" for n, d in described.items()}
    numbers = [n for n, name in names.items() if pattern.search(name)]
    if not numbers:
        raise _RefusedError(
            "(0062,0002) Segment Sequence: no segment is named as a lesion, but " + ", ".join(names.values())
        )
    referenced = [str(uids[-1]) for uids in segmentation.get_source_image_uids()]
    used = {uid: found for uid in referenced if (found := images.by_uid.get(uid))}
    if not used:
        raise _RefusedError("(0008,1115) Referenced Series Sequence names none of the images")
    size = segmentation.Rows, segmentation.Columns
    for image in (image for found in used.values() for image in found):
        if size != (image.rows, image.columns):
            raise _RefusedError(
                f"(0028,0010) Rows and (0028,0011) Columns are {size}, those of the image {(image.rows, image.columns)}"
            )
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


def _refuse_other_planes(segmentation: pydicom.Dataset, images: _Images) -> None:
    """Every segment's frame must lie where the image lies that it is derived from (PS3.3 C.7.6.16.2.3)."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    for number, groups in enumerate(segmentation.PerFrameFunctionalGroupsSequence, start=1):
        sources = [s for d in groups.get("DerivationImageSequence", []) for s in d.get("SourceImageSequence", [])]
        if not sources:
            raise _RefusedError(f"(0008,2112) Source Image Sequence is missing in frame {number}")
        position = groups.get("PlanePositionSequence", shared.get("PlanePositionSequence"))
        frame = int(sources[0].get("ReferencedFrameNumber", 1)) - 1
        _, image = images.by_key.get((str(sources[0].ReferencedSOPInstanceUID), frame), (None, None))
        if position is None or image is None or image.geometry is None:
            continue
        off = np.subtract(position[0].ImagePositionPatient, image.geometry.position).astype(float)
        if np.abs(off).max() > SAME_GRID * min(image.spacing):
            raise _RefusedError(
                f"(0020,0032) Image Position (Patient) of frame {number} is {np.linalg.norm(off):.2f} mm off that of "
                "its source image"
            )


def _rtstruct_masks(path: Path, images: _Images, pattern: re.Pattern) -> Masks:
    """ROIs that outline lesions (DICOM PS3.3 A.19, C.8.8.6), filled by the even-odd rule."""
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
        raise _RefusedError(
            "(3006,0020) Structure Set ROI Sequence: no ROI is named as a lesion, but " + ", ".join(names.values())
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
        raise _RefusedError("(3006,0010) Referenced Frame of Reference Sequence names none of the images")
    return masks


def _referenced_by_structures(structures: pydicom.Dataset) -> Iterator[tuple[str, list[str]]]:
    """Series Instance UID and SOP Instance UIDs of the images that were contoured (PS3.3 C.8.8.5)."""
    for reference in structures.get("ReferencedFrameOfReferenceSequence", []):
        for study in reference.get("RTReferencedStudySequence", []):
            for series in study.get("RTReferencedSeriesSequence", []):
                images = series.get("ContourImageSequence", [])
                yield str(series.SeriesInstanceUID), [str(image.ReferencedSOPInstanceUID) for image in images]


def _add_contour(filled: Masks, contour: pydicom.Dataset, images: _Images, stacks: list[Series]) -> None:
    """Fill one contour of an ROI; a second one within it is a hole."""
    if contour.ContourGeometricType not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
        raise _RefusedError(f"(3006,0042) Contour Geometric Type is {contour.ContourGeometricType}, not CLOSED_PLANAR")
    points = np.asarray(contour.ContourData, float).reshape(-1, 3)
    image = _contoured_image(contour, points, images, stacks)
    if image is None:
        return
    if image.geometry is None:
        raise _RefusedError("(0020,0032) Image Position (Patient) is missing in an image that is contoured")
    rows, columns, off = _to_pixels(image.geometry, points)
    if np.abs(off).max() > _half_step(images, image):
        raise _RefusedError(
            f"(3006,0050) Contour Data lies {np.abs(off).max():.1f} mm off the plane of the image that it refers to"
        )
    mask = polygon2mask((image.rows, image.columns), np.stack([rows, columns], axis=1))
    middle = np.round([rows.mean(), columns.mean()]).astype(int)
    if not mask.any() and (middle >= 0).all() and (middle < mask.shape).all():  # narrower than a pixel
        mask[tuple(middle)] = True
    key = image.sop_uid, image.frame
    filled[key] = filled.get(key, False) ^ mask


def _contoured_image(
    contour: pydicom.Dataset, points: np.ndarray, images: _Images, stacks: list[Series]
) -> Slice | None:
    """The image a contour lies on: the referenced one, else the nearest of the referenced series.

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
        raise _RefusedError(
            "(3006,0016) Contour Image Sequence is missing, and no image of the referenced series given"
        )
    nearest, off = min(distances, key=itemgetter(1))
    return nearest if off <= _half_step(images, nearest) else None


def _half_step(images: _Images, image: Slice) -> float:
    """Half the distance to the next slice in mm, 1 mm for a single one."""
    step = images.by_key[image.sop_uid, image.frame][0].slice_step_mm
    return step / 2 if step else 1.0


def _to_pixels(geometry: Geometry, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column index, zero at the first pixel's centre, and mm off the plane of points, mm, shape (n, 3)."""
    from_first = points - geometry.position
    return (
        from_first @ geometry.along_column / geometry.row_spacing,
        from_first @ geometry.along_row / geometry.column_spacing,
        from_first @ geometry.normal,
    )


def _mask_masks(path: Path, series: list[Series]) -> Masks:
    """A volume whose voxels other than 0 are lesions, on the grid of one patient's series.

    It belongs to the series whose UID its name holds, else to those whose files lie in its folder or below.
    """
    header = sitk.ImageFileReader()
    header.SetFileName(str(path))
    header.ReadImageInformation()
    if header.GetDimension() != 3 or header.GetNumberOfComponents() != 1:
        raise _RefusedError(f"is of {header.GetDimension()} dimensions, not a volume of one number a voxel")
    if np.prod(header.GetSize(), dtype=float) > _MOST_VOXELS:
        raise _RefusedError(f"is of {header.GetSize()} voxels, more than {_MOST_VOXELS}")
    volume = header.Execute()
    values = np.unique(sitk.GetArrayViewFromImage(volume))
    if len(values) > _MOST_LABELS:
        raise _RefusedError(f"holds {len(values)} different values: an image, not a mask")
    named = [one for one in series if one.series_uid in path.name]
    folder = path.absolute().parent
    beside = [one for one in series if one.slices[0].source.path.absolute().is_relative_to(folder)]
    candidates = named or beside
    if not candidates:
        raise _RefusedError("belongs to no series: put it beside the images, or name it by the Series Instance UID")
    masks: Masks = {}
    mismatches, owners = [], set()
    for one in candidates:
        try:
            masks |= _on_slices(volume, one)
            owners.add(one.patient_id)
        except _RefusedError as error:
            mismatches.append(str(error))
    if not masks:
        raise _RefusedError(mismatches[0])
    if len(owners) > 1:
        raise _RefusedError(f"fits the grid of {len(owners)} patients' series; name it by the Series Instance UID")
    return masks


def _on_slices(volume: sitk.Image, series: Series) -> Masks:
    """The layer of a mask that lies on each slice, its rows and columns turned as the image's are."""
    planes = geometries(series.slices)
    if planes is None:
        raise _RefusedError("(0020,0032) Image Position (Patient) is missing in the series it lies beside")
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
            raise _RefusedError(_mismatch(volume, image, plane, len(planes)))
        rows, columns = np.indices((image.rows, image.columns))
        i, j, k = (place[a] + turn[0, a] * rows + turn[1, a] * columns for a in range(3))
        masks[image.sop_uid, image.frame] = voxels[k, j, i]
    return masks


def _mismatch(volume: sitk.Image, image: Slice, plane: Geometry, slices: int) -> str:
    def numbers(values: Iterable[float]) -> str:
        return " x ".join(f"{v:.4g}" for v in values)

    return (
        f"is not on the image's grid: {numbers(volume.GetSize())} voxels of {numbers(volume.GetSpacing())} mm from "
        f"({', '.join(f'{v:.2f}' for v in volume.GetOrigin())}); the series has {slices} slices of "
        f"{image.rows} x {image.columns} pixels of {numbers(image.spacing)} mm, one from "
        f"({', '.join(f'{v:.2f}' for v in plane.position)}); resample it"
    )
