"""DICOM objects of a report: written of images made here, and read back."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
from pydicom.sr.codedict import codes

from make_analysis import lesion, report_of
from make_dicom import mr_image, write
from nbcad.dicom.age import Age
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.inference.study_stage import study_stage
from nbcad.report import DicomWriter
from nbcad.report.entries import lesion_entries, software
from nbcad.report.types import BoxEntry, Report, SeriesEntry, StudyEntry

FRAME = "2.25.77"
# What the Patient and Study modules ask for: the rest of an image's oddities is not ours.
SOUND = {
    "FrameOfReferenceUID": FRAME, "PatientBirthDate": "20130517", "PatientSex": "F", "StudyDate": "20180321",
    "StudyTime": "101500", "StudyID": "7", "AccessionNumber": "A7", "ReferringPhysicianName": "",
    "StudyDescription": "MR abdomen", "PatientAge": "004Y", "InstitutionName": "Hospital",
}  # fmt: skip
STAGED = {"L1": "C133428", "L2": "C133429", "M": "C133430", "MS": "C133431"}


def image_of_study(n: int, **elements):
    """Return image ``n`` of a stack of 5 mm steps; an element that is None is not there."""
    pixels = np.random.default_rng(n).integers(0, 900, (48, 40))
    elements = {k: v for k, v in (SOUND | elements).items() if v is not None or k not in SOUND}
    return mr_image(pixels, (3.5, -7.25, 5.0 * n), **elements)


def write_stack(folder: Path, count: int = 4, **elements) -> Path:
    """Write a series into a folder; returns the folder."""
    for n in range(count):
        write(image_of_study(n, **elements), folder / str(n))
    return folder


def write_objects(source: Path, models, folder: Path, lesions=None, region: str = "") -> Report:
    """Write the objects of a folder's report and return it; ``lesions`` and ``region`` replace what was found."""
    writer = DicomWriter(software(models), folder)

    def finish(patient) -> None:
        for _, _, found in patient.series():
            if found and lesions is not None:
                found.lesions = lesions
            if found and region:
                found.organs = [region] * len(found.slices)
        if lesions is not None or region:
            pairs = zip(patient.studies, patient.analyses, strict=True)
            patient.studies = tuple(study_again(study, found, models) for study, (found,) in pairs)
        writer.write(patient)

    return report_of(source, models, finish)


def study_again(study: StudyEntry, found: SeriesAnalysis, models) -> StudyEntry:
    """Return the entry of a study of one series anew, of what is found there now."""
    months = study.patient.age_range_months
    age = Age(*months) if months else None
    series = replace(study.series[0], lesions=lesion_entries(found))
    return replace(study, series=(series,), stage=study_stage([found], age, models))


def only_series(report: Report) -> SeriesEntry:
    """Return the entry of the only series of a report."""
    (study,) = report.studies
    (series,) = study.series
    return series


def content_of(path: Path):
    """Return the content of a structured report."""
    return highdicom.sr.srread(path).content


def lesion_groups(path: Path) -> list:
    """Return the groups of lesions, planar and volumetric, in the order of the file."""
    content = content_of(path)
    planar = content.get_planar_roi_measurement_groups()
    return sorted([*planar, *content.get_volumetric_roi_measurement_groups()], key=lambda g: g.tracking_identifier)


def boxes_of(group) -> tuple[BoxEntry, ...]:
    """Return a lesion's boxes as the report has them."""
    regions = group.roi if isinstance(group.roi, list) else [group.roi]
    found = []
    for region in regions:
        (col0, row0), (col1, row1) = region.value.min(axis=0), region.value.max(axis=0)
        assert region.graphic_type.value == "POLYLINE"
        assert region.value.tolist() == [[col0, row0], [col1, row0], [col1, row1], [col0, row1], [col0, row0]]
        source = region.ContentSequence[0].ReferencedSOPSequence[0]
        frame = source.get("ReferencedFrameNumber", 1) - 1
        found.append(BoxEntry(source.ReferencedSOPInstanceUID, frame, row0, col0, row1, col1))
    return tuple(found)


def places_in_patient(group) -> dict[str, np.ndarray]:
    """Return the coordinates of a group in the patient, by their meaning."""
    return {item.name.meaning: item.value for item in group[0].ContentSequence if item.ValueType == "SCOORD3D"}


def codes_of(group) -> dict[str, str]:
    """Return the codes of a group by the codes of their concepts."""
    return {e.name.value: e.value.value for e in group.get_qualitative_evaluations()}


def comments_of(group) -> list[str]:
    """Return the comments of a group."""
    return [item.value for item in group[0].ContentSequence if item.name == codes.DCM.Comment]


LESIONS = [
    lesion({1: (3.2, 5.9, 20.1, 17.0), 2: (2, 5, 21, 18.5)}, (0.7, 0.1, 0.1, 0.1), 0.8765),
    lesion({3: (0, 0, 48, 40)}, (0.1, 0.1, 0.1, 0.7), 1.0),
]


def no_error_by_dciodvfy(folder: Path) -> None:
    """Check the objects of a folder by dciodvfy, if it is installed."""
    if not shutil.which("dciodvfy"):
        return
    for path in folder.iterdir():
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        assert {"SCImage", "Comprehensive3DSR"} & {*told.splitlines()}
        assert "Error" not in told, told
