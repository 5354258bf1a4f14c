"""The report for a PACS: a Comprehensive 3D SR by TID 1500 (DICOM PS3.3 A.35.13, PS3.16) of each analysed series.

Its numbers are those of report.json. Boxes are closed rectangles in image coordinates, whose origin is the upper left
corner of the first pixel (PS3.3 C.18.6): a box of report.json, zero-based and end exclusive, has the same numbers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import numpy as np
from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from nbcad import NAME
from nbcad.dicom import Slice
from nbcad.inference.study_stage import StudyStage
from nbcad.inference.suitability import trained_on
from nbcad.nets.labels import NORMAL, OTHER
from nbcad.report.objects import RESEARCH_USE, SR_SERIES, SeriesReport, frame_number, shared, valid
from nbcad.report.types import BoxEntry, LesionEntry

_PRIVATE = "99NBCAD"  # private schemes begin with 99 (PS3.16 8)
_REGIONS = {
    "adrenal": CodedConcept("23451007", "SCT", "Adrenal gland"),
    "retroperitoneum": CodedConcept("82849001", "SCT", "Retroperitoneum"),
    "thorax": CodedConcept("816094009", "SCT", "Thorax"),
    OTHER: CodedConcept(OTHER, _PRIVATE, "Outside the regions that are told apart"),
}
_STAGING_SYSTEM = CodedConcept("C133427", "NCIt", "International Neuroblastoma Risk Group Staging System")
_STAGES = {
    "L1": CodedConcept("C133428", "NCIt", "International Neuroblastoma Risk Group Stage L1"),
    "L2": CodedConcept("C133429", "NCIt", "International Neuroblastoma Risk Group Stage L2"),
    "M": CodedConcept("C133430", "NCIt", "International Neuroblastoma Risk Group Stage M"),
    "MS": CodedConcept("C133431", "NCIt", "International Neuroblastoma Risk Group Stage MS"),
}
_NEOPLASM = CodedConcept("108369006", "SCT", "Neoplasm")
_MRI = CodedConcept("113091000", "SCT", "Magnetic resonance imaging")
_LONG_AXIS = CodedConcept("103339001", "SCT", "Long Axis")
_SHORT_AXIS = CodedConcept("103340004", "SCT", "Short Axis")
_LENGTH = CodedConcept("410668003", "SCT", "Length")
_SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}  # of the context group, which has none for the midline
_SOURCE = CodedConcept("260753009", "SCT", "Source")
_BOUNDED_BY = CodedConcept("75958009", "SCT", "Bounded by")
_PERCENT = CodedConcept("%", "UCUM", "percent")
_CUBIC_MM = CodedConcept("mm3", "UCUM", "cubic millimeter")
_ELLIPSES_TIMES_STEP = CodedConcept("ellipses", _PRIVATE, "Ellipses in the boxes times the distance between slices")
_SIDE_OF_BOX = CodedConcept("box", _PRIVATE, "Side of the box on the slice where the box is largest")
_SLICES_TIMES_STEP = CodedConcept("slices", _PRIVATE, "Slices, craniocaudal, times the distance between them")

_VERDICTS = {
    "suited": "The images are like those that the models were trained on.",
    "doubtful": "The images differ from those that the models were trained on; the findings may be wrong.",
}

_Lesion = sr.PlanarROIMeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations


def structured_report(analysed: SeriesReport) -> sr.Comprehensive3DSR:
    """Return the structured report of one analysed series."""
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=analysed.uid("device"), name=NAME, manufacturer_name=NAME, model_name=NAME
    )
    observer = sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_MRI,
        imaging_measurements=[_stage_group(analysed)],
        title=codes.DCM.ImagingMeasurementReport,
    )
    report = sr.Comprehensive3DSR(
        evidence=_evidence(analysed),
        content=content,
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[CodingSchemeIdentificationItem(_PRIVATE, name="Codes of nbcad", responsible_organization=NAME)],
        **shared(analysed, SR_SERIES, "measurements"),
    )
    # Not before: highdicom copies and searches the content that it is given, which takes longer than to make it.
    items = report.ContentSequence
    measurements = items[-1].ContentSequence
    for group in (*_lesion_groups(analysed), *_region_groups(analysed)):
        measurements.extend(group)
    items.insert(len(items) - 1, _comment(RESEARCH_USE))
    items.insert(len(items) - 1, _image_library(analysed))
    return report


def has_millimetres(analysed: SeriesReport) -> bool:
    """Return whether all images state one valid frame of reference, so that places in the patient can be written."""
    uids = {image.frame_of_reference_uid for image in analysed.analysis.slices}
    return analysed.analysis.slices[0].geometry is not None and len(uids) == 1 and valid(next(iter(uids)))


def _evidence(analysed: SeriesReport) -> list[Dataset]:
    """Return the source images as highdicom wants its evidence."""
    images = {image.sop_uid: image for image in analysed.analysis.slices}
    evidence = []
    for image in images.values():
        item = Dataset()
        item.SOPClassUID, item.SOPInstanceUID = image.sop_class_uid, image.sop_uid
        item.StudyInstanceUID, item.SeriesInstanceUID = (
            analysed.analysis.series.study_uid,
            analysed.analysis.series.series_uid,
        )
        evidence.append(item)
    first = evidence[0]
    first.PatientID = first.PatientName = first.PatientBirthDate = first.PatientSex = None  # `objects.write` adds them
    first.AccessionNumber = first.StudyID = first.StudyDate = first.StudyTime = None
    return evidence


def _image_library(analysed: SeriesReport) -> sr.ContainerContentItem:
    """Return the image library of all analysed images, with their common attributes: TID 1600."""
    image, acquired = analysed.analysis.slices[0], sr.RelationshipTypeValues.HAS_ACQ_CONTEXT
    descriptors: list[sr.ContentItem] = [
        sr.CodeContentItem(codes.DCM.Modality, codes.cid29.MagneticResonance, acquired)
    ]
    if has_millimetres(analysed):
        descriptors.append(sr.UIDRefContentItem(codes.DCM.FrameOfReferenceUID, image.frame_of_reference_uid, acquired))
    pixels = CodedConcept("{pixels}", "UCUM", "Pixels")
    millimetre = codes.UCUM.Millimeter
    descriptors += [
        sr.NumContentItem(codes.DCM.PixelDataRows, image.rows, pixels, relationship_type=acquired),
        sr.NumContentItem(codes.DCM.PixelDataColumns, image.columns, pixels, relationship_type=acquired),
        sr.NumContentItem(
            codes.DCM.HorizontalPixelSpacing, _digits(image.spacing[1]), millimetre, relationship_type=acquired
        ),
        sr.NumContentItem(
            codes.DCM.VerticalPixelSpacing, _digits(image.spacing[0]), millimetre, relationship_type=acquired
        ),
    ]
    images = [
        sr.ImageContentItem(_SOURCE, *reference, relationship_type=sr.RelationshipTypeValues.CONTAINS)
        for reference in _references(analysed.analysis.slices)
    ]
    group = _container(codes.DCM.ImageLibraryGroup, [*descriptors, *images])
    return _container(codes.DCM.ImageLibrary, [group])


def _container(name: Code, items: Sequence[sr.ContentItem]) -> sr.ContainerContentItem:
    container = sr.ContainerContentItem(name, relationship_type=sr.RelationshipTypeValues.CONTAINS)
    container.ContentSequence = sr.ContentSequence(items)
    return container


def _references(images: Iterable[Slice]) -> list[tuple[str, str, list[int] | None]]:
    """Return SOP class, instance and frames of images, each object once."""
    frames: dict[tuple[str, str], list[int]] = {}
    for image in images:
        numbers = frames.setdefault((image.sop_class_uid, image.sop_uid), [])
        if (number := frame_number(image)) is not None:
            numbers.append(number)
    return [(*key, sorted(numbers) or None) for key, numbers in frames.items()]


def _comment(text: str) -> sr.TextContentItem:
    return sr.TextContentItem(codes.DCM.Comment, text, sr.RelationshipTypeValues.CONTAINS)


def _stage_group(analysed: SeriesReport) -> sr.MeasurementsAndQualitativeEvaluations:
    """Return the group of the patient's stage, from all analysed series of the study: TID 1501."""
    stage, suitability = analysed.study.stage, analysed.study.suitability
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            analysed.uid("stage", analysed.study.study_uid), "Stage of the patient"
        ),
        algorithm_id=_algorithm(
            analysed, [f"{name} sha256:{digest}" for name, digest in analysed.software.models.items()]
        ),
        qualitative_evaluations=_stage(stage.label),
    )
    suggested = [] if stage.label == NORMAL else [_suggested(stage)]
    about = [
        _VERDICTS[suitability.verdict],
        *map(str, suitability.reasons),
        str(trained_on(analysed.software.trained_on)),
    ]
    for text in (*about, *suggested, *map(str, stage.notes)):
        group[0].ContentSequence.append(_comment(text))
    return group


def _suggested(stage: StudyStage) -> str:
    probabilities = ", ".join(f"{label} {value:.4f}" for label, value in stage.probabilities.items())
    said = "No stage is suggested" if stage.label is None else f"Image-suggested stage: {stage.label}"
    return f"{said}. Probabilities: {probabilities}."


def _stage(label: str | None) -> list[sr.QualitativeEvaluation]:
    """Return a stage's public code in the INRG system, or a private code in any other.

    Nothing for normal tissue, nor where no stage is suggested.
    """
    if label is None or label == NORMAL:
        return []
    if label in _STAGES:
        return [sr.QualitativeEvaluation(_STAGING_SYSTEM, _STAGES[label])]
    return [sr.QualitativeEvaluation(CodedConcept("stage", _PRIVATE, "Stage"), CodedConcept(label, _PRIVATE, label))]


def _region(label: str) -> list[sr.QualitativeEvaluation]:
    code = _REGIONS.get(label) or CodedConcept(label, _PRIVATE, label)
    return [sr.QualitativeEvaluation(codes.DCM.TargetRegion, code)]


def _region_groups(analysed: SeriesReport) -> list[sr.MeasurementsAndQualitativeEvaluations]:
    """Return a group for each region, with the slices assigned to it: TID 1501."""
    slices: dict[str, list[Slice]] = {}
    for image, label in zip(analysed.analysis.slices, analysed.analysis.organs, strict=True):
        slices.setdefault(label, []).append(image)
    uid = analysed.analysis.series.series_uid
    return [
        sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(analysed.uid("region", uid, label), f"Slices showing: {label}"),
            algorithm_id=_algorithm(analysed),
            qualitative_evaluations=_region(label),
            source_images=[sr.SourceImageForMeasurementGroup(*reference) for reference in _references(images)],
        )
        for label, images in slices.items()
    ]


def _lesion_groups(analysed: SeriesReport) -> list[_Lesion]:
    return [_lesion_group(analysed, entry) for entry in analysed.series.lesions]


def _lesion_group(analysed: SeriesReport, entry: LesionEntry) -> _Lesion:
    """Return the group of a lesion: planar (TID 1410) on one slice, volumetric (TID 1411) on several."""
    regions, about = _boxes(analysed, entry.boxes), _about_lesion(analysed, entry)
    group: _Lesion
    if len(regions) == 1:
        group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=regions[0], **about)
    else:
        group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_regions=regions, **about)
    items = group[0].ContentSequence
    if has_millimetres(analysed):
        items.extend(_in_patient(entry, analysed.analysis.slices[0].frame_of_reference_uid))
    return group


def _about_lesion(analysed: SeriesReport, entry: LesionEntry) -> dict:
    """Arguments of either template."""
    site = _REGIONS.get(entry.site) if entry.site else None
    series, boxes = analysed.analysis.series, list(map(asdict, entry.boxes))
    return {
        "tracking_identifier": sr.TrackingIdentifier(
            analysed.uid("lesion", series.study_uid, series.series_uid, boxes), f"Lesion {entry.id}"
        ),
        "finding_type": _NEOPLASM,
        "finding_sites": [sr.FindingSite(site, _SIDES.get(entry.side or ""))] if site else None,
        "algorithm_id": _algorithm(analysed),
        "geometric_purpose": _BOUNDED_BY,
        "measurements": _measurements(analysed, entry),
    }


def _boxes(analysed: SeriesReport, boxes: Sequence[BoxEntry]) -> list[sr.ImageRegion]:
    images = {(image.sop_uid, image.frame): image for image in analysed.analysis.slices}
    regions = []
    for box in boxes:
        image = images[box.sop_uid, box.frame]
        ((sop_class, uid, frames),) = _references([image])
        first, last = (box.col0, box.row0), (box.col1, box.row1)
        corners = [first, (last[0], first[1]), last, (first[0], last[1]), first]
        source = sr.SourceImageForRegion(sop_class, uid, frames)
        regions.append(sr.ImageRegion(sr.GraphicTypeValues.POLYLINE, np.array(corners, np.float32), source))
    return regions


def _in_patient(entry: LesionEntry, frame_of_reference_uid: str) -> list[sr.Scoord3DContentItem]:
    """Return a lesion's centre and two opposite corners of its box along the patient's axes, in mm as float32."""
    places = (
        (codes.DCM.Center, sr.GraphicTypeValues3D.POINT, [entry.centre_mm]),
        (_BOUNDED_BY, sr.GraphicTypeValues3D.MULTIPOINT, entry.box_mm),
    )
    contains = sr.RelationshipTypeValues.CONTAINS
    return [
        sr.Scoord3DContentItem(name, kind, np.array(points), frame_of_reference_uid, relationship_type=contains)
        for name, kind, points in places
    ]


def _measurements(analysed: SeriesReport, entry: LesionEntry) -> list[sr.Measurement]:
    certainty = round(100 * entry.probability, 2)
    diameters = entry.diameters_mm
    measured = (
        (_LONG_AXIS, diameters.long_axis, codes.UCUM.Millimeter, _SIDE_OF_BOX),
        (_SHORT_AXIS, diameters.short_axis, codes.UCUM.Millimeter, _SIDE_OF_BOX),
        (_LENGTH, diameters.craniocaudal, codes.UCUM.Millimeter, _SLICES_TIMES_STEP),
        (codes.SCT.Volume, entry.volume_mm3, _CUBIC_MM, _ELLIPSES_TIMES_STEP),
    )
    return [
        sr.Measurement(codes.DCM.CertaintyOfFinding, certainty, _PERCENT),
        *(
            sr.Measurement(name, value, unit, method=method)
            for name, value, unit, method in measured
            if value is not None  # how far apart slices are, is not known
        ),
    ]


def _algorithm(analysed: SeriesReport, parameters: list[str] | None = None) -> sr.AlgorithmIdentification:
    return sr.AlgorithmIdentification(NAME, analysed.version, parameters)


def _digits(value: float) -> float:
    """Round a number to the digits that a decimal string (VR DS) has room for."""
    return float(f"{value:.9g}")
