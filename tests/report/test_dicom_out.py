"""The report as DICOM objects: the numbers of report.json, in the source's study, and what reads them elsewhere."""

import dataclasses
import json
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    Comprehensive3DSRStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from make_analysis import INSS, lesion, report_of
from make_archive import ORTHANC, ask, orthanc
from make_dicom import as_stored, enhanced, mr_image, write
from nbcad.dicom import IGNORED, REFUSED, read_archive
from nbcad.imaging.orientation import Canonical
from nbcad.inference import heat
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.inference.stage import UNDETERMINED
from nbcad.inference.study_stage import study_stage
from nbcad.language import LANGUAGES
from nbcad.nets.caffe_net import caffe
from nbcad.nets.labels import OTHER
from nbcad.report import DicomWriter, Language, Pages
from nbcad.report.entries import lesion_entries, software
from nbcad.report.pictures import evidence
from nbcad.report.secondary_capture import orientation
from nbcad.report.types import BoxEntry, Report, SeriesEntry, StudyEntry

FRAME = "2.25.77"
# What the Patient and Study modules ask for: the rest of an image's oddities is not ours.
SOUND = {
    "FrameOfReferenceUID": FRAME, "PatientBirthDate": "20130517", "PatientSex": "F", "StudyDate": "20180321",
    "StudyTime": "101500", "StudyID": "7", "AccessionNumber": "A7", "ReferringPhysicianName": "",
    "StudyDescription": "MR abdomen", "PatientAge": "004Y", "InstitutionName": "Hospital",
}  # fmt: skip
STAGED = {"L1": "C133428", "L2": "C133429", "M": "C133430", "MS": "C133431"}


def _image(n: int, **elements):
    """Of five millimetres' step; an element that is None is not there."""
    pixels = np.random.default_rng(n).integers(0, 900, (48, 40))
    elements = {k: v for k, v in (SOUND | elements).items() if v is not None or k not in SOUND}
    return mr_image(pixels, (3.5, -7.25, 5.0 * n), **elements)


def _stack(folder: Path, count: int = 4, **elements) -> Path:
    for n in range(count):
        write(_image(n, **elements), folder / str(n))
    return folder


def _written(source: Path, models, folder: Path, lesions=None, region: str = "") -> Report:
    """The report of a folder whose objects are written; ``lesions`` and ``region`` in the place of what was found."""
    writer = DicomWriter(models.sha256, folder)

    def finish(patient) -> None:
        for _, _, found in patient.series():
            if found and lesions is not None:
                found.lesions = lesions
            if found and region:
                found.organs = [region] * len(found.slices)
        if lesions is not None or region:
            pairs = zip(patient.studies, patient.analyses, strict=True)
            patient.studies = tuple(_again(study, found, models) for study, (found,) in pairs)
        writer.write(patient)

    return report_of(source, models, finish)


def _again(study: StudyEntry, found: SeriesAnalysis, models) -> StudyEntry:
    """The entry of a study of one series, of what is found there now."""
    age = study.patient.age_months
    series = replace(study.series[0], lesions=lesion_entries(found, age, models))
    return replace(study, series=(series,), stage=study_stage([found], age, models))


def _series(report: Report) -> SeriesEntry:
    (study,) = report.studies
    (series,) = study.series
    return series


def _content(path: Path):
    return highdicom.sr.srread(path).content


def _groups(path: Path) -> list:
    """Of lesions, planar and volumetric, in the order of the file."""
    content = _content(path)
    planar = content.get_planar_roi_measurement_groups()
    return sorted([*planar, *content.get_volumetric_roi_measurement_groups()], key=lambda g: g.tracking_identifier)


def _boxes(group) -> tuple[BoxEntry, ...]:
    """A lesion's boxes as the report has them."""
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


def _in_patient(group) -> dict[str, np.ndarray]:
    return {item.name.meaning: item.value for item in group[0].ContentSequence if item.ValueType == "SCOORD3D"}


def _codes(group) -> dict[str, str]:
    return {e.name.value: e.value.value for e in group.get_qualitative_evaluations()}


def _comments(group) -> list[str]:
    return [item.value for item in group[0].ContentSequence if item.name == codes.DCM.Comment]


LESIONS = [
    lesion({1: (3.2, 5.9, 20.1, 17.0), 2: (2, 5, 21, 18.5)}, (0.7, 0.1, 0.1, 0.1), 0.8765),
    lesion({3: (0, 0, 48, 40)}, (0.1, 0.1, 0.1, 0.7), 1.0),
]


@pytest.mark.parametrize("kind", ["classic", "enhanced", "oblique"])
def test_sr_has_the_numbers_of_report_json(blind, tmp_path, kind):
    source = tmp_path / "in"
    if kind == "enhanced":
        write(enhanced([_image(n) for n in range(4)]), source / "x")
    elif kind == "oblique":
        turn = np.deg2rad(20)
        axes = [np.cos(turn), 0, np.sin(turn), 0, 1, 0]
        for n in range(4):
            place = np.cross(axes[:3], axes[3:]) * 5.0 * n
            write(_image(n, ImageOrientationPatient=axes, ImagePositionPatient=place.tolist()), source / str(n))
    else:
        _stack(source)
    entry = _series(_written(source, blind, tmp_path / "out", LESIONS))
    assert entry.dicom == ("0001.sr.dcm", "0001-01.sc.dcm", "0001-02.sc.dcm") and entry.notes == ()
    assert sorted(entry.dicom) == sorted(p.name for p in (tmp_path / "out").iterdir())
    groups = _groups(tmp_path / "out" / "0001.sr.dcm")
    assert [type(g).__name__.partition("ROI")[0] for g in groups] == ["Volumetric", "Planar"]
    for group, expected in zip(groups, entry.lesions, strict=True):
        assert _boxes(group) == expected.boxes
        found = _in_patient(group)
        np.testing.assert_allclose(found["Center"], [expected.centre_mm], atol=1e-4)  # float32
        np.testing.assert_allclose(found["Bounded by"], expected.box_mm, atol=1e-4)
        (certainty,) = group.get_measurements(codes.DCM.CertaintyOfFinding)
        assert (round(certainty.value / 100, 4), certainty.unit.value) == (expected.probability, "%")
        assert _codes(group)["C133427"] == STAGED[expected.stage.label]
        assert any(text.startswith("Image-suggested stage") for text in _comments(group))


def test_sr_measures_volume_and_length_and_says_how(blind, tmp_path):
    _stack(tmp_path / "in")
    entry = _series(_written(tmp_path / "in", blind, tmp_path / "out", LESIONS[:1]))
    (group,) = _groups(tmp_path / "out" / "0001.sr.dcm")
    (volume,) = group.get_measurements(codes.SCT.Volume)
    (length,) = group.get_measurements(codes.SCT.LengthProperty)
    assert (volume.value, volume.unit.value) == (entry.lesions[0].volume_mm3, "mm3")
    low, high = np.array(entry.lesions[0].box_mm)
    assert (length.value, length.unit.value) == (pytest.approx(max(high - low)), "mm")
    assert volume.method.scheme_designator == length.method.scheme_designator == "99NBCAD"


def test_sr_refers_to_every_source_image_and_sorts_it_into_a_region(blind, tmp_path):
    _stack(tmp_path / "in")
    entry = _series(_written(tmp_path / "in", blind, tmp_path / "out", LESIONS))
    report = highdicom.sr.srread(tmp_path / "out" / "0001.sr.dcm")
    expected = {("2.25.1", "2.25.2", s.sop_uid, MRImageStorage) for s in entry.slices}
    assert set(report.get_evidence()) == expected and len(expected) == 4
    (library,) = [i for i in report.content[0].ContentSequence if i.name == codes.DCM.ImageLibrary]
    images = [i for i in library.ContentSequence[0].ContentSequence if i.ValueType == "IMAGE"]
    assert [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in images] == [s.sop_uid for s in entry.slices]
    groups = report.content.get_image_measurement_groups()
    (region,) = [g for g in groups if g.source_images]
    assert _codes(region) == {"123014": "23451007"} and len(region.source_images) == 4


def test_frames_of_an_enhanced_object_are_referred_to_by_number_and_refused_ones_are_not(blind, tmp_path):
    images = [_image(n) for n in range(4)]
    images[1].PixelData = bytes(len(images[1].PixelData))
    one = enhanced(images)
    write(one, tmp_path / "in" / "x")
    _written(tmp_path / "in", blind, tmp_path / "out", [])
    report = highdicom.sr.srread(tmp_path / "out" / "0001.sr.dcm")
    assert report.get_evidence() == [("2.25.1", "2.25.2", one.SOPInstanceUID, EnhancedMRImageStorage)]
    (region,) = [g for g in report.content.get_image_measurement_groups() if g.source_images]
    assert region.source_images[0].referenced_frame_numbers == [1, 3, 4]


def test_image_without_position_gets_boxes_but_no_place_in_the_patient(eager, tmp_path):
    write(_image(0, ImagePositionPatient=None, ImageOrientationPatient=None), tmp_path / "in" / "x")
    entry = _series(_written(tmp_path / "in", eager, tmp_path / "out"))
    (group,) = _groups(tmp_path / "out" / "0001.sr.dcm")
    assert _boxes(group) == entry.lesions[0].boxes
    assert _in_patient(group) == {} and len(group.get_measurements()) == 1
    capture = pydicom.dcmread(tmp_path / "out" / "0001-01.sc.dcm")
    assert not capture.PatientOrientation
    _no_error_by_dciodvfy(tmp_path / "out")


@pytest.mark.parametrize("uids", [(None, None), ("", ""), ("1.2.x", "1.2.x"), (FRAME, "2.25.78")])
def test_images_without_one_frame_of_reference_get_no_place_in_the_patient_and_the_report_says_so(
    eager, tmp_path, uids
):
    for n, uid in enumerate(uids):
        with pydicom.config.disable_value_validation():
            image = _image(n)
            image.FrameOfReferenceUID = uid or ""
            if uid is None:
                del image.FrameOfReferenceUID
            write(image, tmp_path / "in" / str(n))
    entry = _series(_written(tmp_path / "in", eager, tmp_path / "out"))
    (group,) = _groups(tmp_path / "out" / "0001.sr.dcm")
    assert _in_patient(group) == {} and _boxes(group) == entry.lesions[0].boxes
    assert any("(0020,0052) Frame of Reference UID" in note for note in entry.notes)


def test_objects_belong_to_the_sources_patient_and_study_and_say_what_they_are(eager, tmp_path):
    _stack(tmp_path / "in")
    _written(tmp_path / "in", eager, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        made = pydicom.dcmread(path)
        for keyword, value in SOUND.items():
            if keyword not in ("FrameOfReferenceUID", "InstitutionName"):
                assert made[keyword].value == value, keyword
        assert (made.PatientID, made.StudyInstanceUID) == ("P1", "2.25.1")
        assert made.SeriesInstanceUID != "2.25.2" and "InstitutionName" not in made
        assert (made.Manufacturer, made.ContentQualification) == ("nbcad", "RESEARCH")
        assert made.SoftwareVersions.startswith("0.1.0+") and "research use only" in made.SeriesDescription
        assert "QualityControlSubject" not in made
    report = pydicom.dcmread(tmp_path / "out" / "0001.sr.dcm")
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    top = [i.TextValue for i in report.ContentSequence if i.ValueType == "TEXT" and "TextValue" in i]
    assert "Research use only. Not for clinical diagnosis." in top


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, "zip"])
def test_patient_and_study_are_the_same_however_the_images_are_stored(blind, tmp_path, syntax):
    image = _image(0, SpecificCharacterSet="GB18030", PatientName="王^小东", PatientWeight="17.5")
    if syntax == "zip":
        path = write(image, tmp_path / "x")
        with zipfile.ZipFile(tmp_path / "in", "w") as archive:
            archive.write(path, "some/x")
    else:
        write(as_stored(image, syntax), tmp_path / "in" / "x")
    assert _series(_written(tmp_path / "in", blind, tmp_path / "out")).notes == ()
    made = pydicom.dcmread(tmp_path / "out" / "0001.sr.dcm")
    assert (made.PatientName, made.PatientWeight, made.StudyDate) == ("王^小东", 17.5, "20180321")


def test_phantom_is_marked_as_none_of_a_patient(blind, tmp_path):
    _stack(tmp_path / "in", QualityControlImage="YES")
    _written(tmp_path / "in", blind, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert pydicom.dcmread(path).QualityControlSubject == "YES"


def test_stage_of_the_patient_is_coded_and_called_image_suggested_and_algorithm_and_models_are_named(blind, tmp_path):
    _stack(tmp_path / "in")
    report = _written(tmp_path / "in", blind, tmp_path / "out", LESIONS[:1])
    stage = report.studies[0].stage
    (group,) = [
        g for g in _content(tmp_path / "out" / "0001.sr.dcm").get_image_measurement_groups() if not g.source_images
    ]
    assert _codes(group) == {"C133427": STAGED[stage.label]}
    assert _comments(group)[0].startswith(f"Image-suggested stage: {stage.label}. Probabilities: normal 0.1235, L1")
    assert _comments(group)[1:] == list(stage.notes)
    texts = {item.value for item in group[0].ContentSequence if item.ValueType == "TEXT"}
    assert {"nbcad", "organ_net sha256:" + "0" * 64} <= texts


def test_study_without_a_lesion_has_no_stage_and_says_why(blind, tmp_path):
    _stack(tmp_path / "in")
    report = _written(tmp_path / "in", blind, tmp_path / "out")
    content = _content(tmp_path / "out" / "0001.sr.dcm")
    groups = content.get_image_measurement_groups()
    assert _codes(groups[0]) == {} and _groups(tmp_path / "out" / "0001.sr.dcm") == []
    assert list(report.studies[0].stage.notes) == _comments(groups[0])
    assert _series(report).dicom == ("0001.sr.dcm", "0001-01.sc.dcm")


def test_region_without_a_code_is_a_private_one_and_no_site(eager, tmp_path):
    _stack(tmp_path / "in")
    _written(tmp_path / "in", eager, tmp_path / "out", region=OTHER)
    (group,) = _groups(tmp_path / "out" / "0001.sr.dcm")
    (region,) = group.get_qualitative_evaluations(codes.DCM.TargetRegion)
    assert (region.value.value, region.value.scheme_designator) == (OTHER, "99NBCAD")
    assert group.finding_sites == []


def test_stage_of_another_staging_system_is_not_coded_as_one_of_inrg(eager, tmp_path, monkeypatch):
    monkeypatch.setattr(eager, "stages", ["normal", "1", "2A", "4", "4S"])
    _stack(tmp_path / "in")
    entry = _series(_written(tmp_path / "in", eager, tmp_path / "out"))
    (group,) = _groups(tmp_path / "out" / "0001.sr.dcm")
    label = entry.lesions[0].stage.label
    assert label in eager.stages and _codes(group)["stage"] == label and "C133427" not in _codes(group)


def test_each_run_makes_new_objects_but_the_same_lesion_keeps_its_tracking_uid(eager, blind, tmp_path):
    _stack(tmp_path / "in")
    tracking, objects = [], set()
    for n in range(2):
        _written(tmp_path / "in", eager, tmp_path / f"out{n}")
        (group,) = _groups(tmp_path / f"out{n}" / "0001.sr.dcm")
        tracking.append(group.tracking_uid)
        for path in (tmp_path / f"out{n}").iterdir():
            made = pydicom.dcmread(path)
            objects |= {made.SOPInstanceUID, made.SeriesInstanceUID}
    assert tracking[0] == tracking[1] and len(objects) == 8
    _written(tmp_path / "in", eager, tmp_path / "moved", LESIONS[:1])
    assert _groups(tmp_path / "moved" / "0001.sr.dcm")[0].tracking_uid != tracking[0]


def test_names_count_the_analysed_series_of_all_patients_and_tell_nothing_of_them(blind, tmp_path):
    for n, patient in enumerate(("SECRET1", "SECRET2")):
        uids = {"StudyInstanceUID": f"2.25.{n + 3}", "SeriesInstanceUID": f"2.25.{n + 5}"}
        _stack(tmp_path / "in" / str(n), 2, PatientID=patient, **uids)
    write(_image(0, SeriesDescription="T1", SeriesInstanceUID="2.25.9", PatientID="SECRET1"), tmp_path / "in" / "t1")
    report = _written(tmp_path / "in", blind, tmp_path / "out")
    named = [name for study in report.studies for series in study.series for name in series.dicom]
    assert named == ["0001.sr.dcm", "0001-01.sc.dcm", "0002.sr.dcm", "0002-01.sc.dcm"]
    assert sorted(named) == sorted(p.name for p in (tmp_path / "out").iterdir())


# --- secondary captures


@pytest.mark.parametrize("spacing", [[2, 2], [1, 3]])
def test_capture_shows_the_evidence_and_has_burned_in_what_it_is_for(blind, tmp_path, spacing):
    _stack(tmp_path / "in", PixelSpacing=spacing)
    kept = []
    writer = DicomWriter(blind.sha256, tmp_path / "out")

    def finish(patient):
        writer.write(patient)
        kept.extend(found for *_, found in patient.series())

    report = report_of(tmp_path / "in", blind, finish)
    index = int(np.argmax([s.tumour_probability for s in _series(report).slices]))
    capture = pydicom.dcmread(tmp_path / "out" / "0001-01.sc.dcm")
    expected = evidence(kept[0], index)[..., ::-1]
    height, width = expected.shape[:2]
    shown = capture.pixel_array
    differ = (shown[:height, :width] != expected).any(axis=2)
    assert 0 < differ.mean() < 0.01  # the letters at the edges
    assert (shown[height:].max(axis=(1, 2)) > 200).any() and capture.BurnedInAnnotation == "YES"
    np.testing.assert_allclose(np.multiply(capture.PixelSpacing, (height, width)), np.multiply(spacing, (48, 40)))
    (source,) = capture.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == _series(report).slices[index].sop_uid
    assert capture.ConversionType == "WSD" and "Research use only" in capture.DerivationDescription


def test_capture_of_a_frame_refers_to_it_by_number(blind, tmp_path):
    write(enhanced([_image(n) for n in range(3)]), tmp_path / "in" / "x")
    _written(tmp_path / "in", blind, tmp_path / "out", [lesion({2: (2, 2, 9, 9)})])
    (source,) = pydicom.dcmread(tmp_path / "out" / "0001-01.sc.dcm").SourceImageSequence
    assert source.ReferencedFrameNumber == 3


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ([1, 0, 0, 0, 1, 0], ("L", "P")),
        ([-1, 0, 0, 0, 1, 0], ("L", "P")),
        ([0, -1, 0, 1, 0, 0], ("L", "P")),
        ([0, 1, 0, 0, 0, -1], ("P", "F")),
        ([1, 0, 0, 0, 0, 1], ("L", "H")),
    ],
)
def test_orientation_is_that_of_the_picture_and_not_of_the_image(tmp_path, axes, expected):
    write(_image(0, ImageOrientationPatient=axes), tmp_path / "x")
    (series,) = read_archive(tmp_path).series
    image = series.slices[0]
    assert orientation(image) == expected
    # against the coordinates themselves: how a step right and a step down in the turned image move in the patient
    turn, shape = Canonical.of(image.geometry), (image.rows, image.columns)
    places = [turn.box_to_stored((r, c, r, c), shape)[:2] for r, c in ((5, 5), (5, 6), (6, 5))]
    start, right, down = (image.geometry.pixel_to_patient(*place) for place in places)
    directions = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "H": (2, 1), "F": (2, -1)}
    for step, letter in zip((right - start, down - start), expected, strict=True):
        axis, sign = directions[letter]
        assert np.argmax(np.abs(step)) == axis and np.sign(step[axis]) == sign


# --- headers as hospitals write them


def test_chinese_name_is_written_in_unicode(blind, tmp_path):
    name = "Wang^XiaoDong=王^小东"
    _stack(tmp_path / "in", 1, SpecificCharacterSet="GB18030", PatientName=name)
    entry = _series(_written(tmp_path / "in", blind, tmp_path / "out"))
    assert entry.notes == ()
    for path in (tmp_path / "out").iterdir():
        made = pydicom.dcmread(path)
        assert (made.PatientName, made.SpecificCharacterSet) == (name, "ISO_IR 192")


@pytest.mark.parametrize("charset", [None, "ISO_IR 999", "ISO_IR 192"])
def test_name_whose_characters_are_not_known_stays_empty_and_the_report_says_so_without_it(blind, tmp_path, charset):
    _stack(tmp_path / "in", 1, PatientName="WANG^XX")
    path = tmp_path / "in" / "0"
    data = path.read_bytes()
    assert data.count(b"WANG^XX ") == 1
    if charset:
        element = b"\x08\x00\x05\x00CS" + len(charset).to_bytes(2, "little") + charset.encode()
        first = data.index(b"\x08\x00\x16\x00UI")
        data = data[:first] + element + data[first:]
    path.write_bytes(data.replace(b"WANG^XX ", "王^小东".encode("gb18030")[:7].ljust(8)))
    entry = _series(_written(tmp_path / "in", blind, tmp_path / "out"))
    (note,) = entry.notes
    assert "(0010,0010) Patient's Name is not copied" in note and "(0008,0005) Specific Character Set" in note
    assert pydicom.dcmread(tmp_path / "out" / "0001.sr.dcm").PatientName == ""
    _no_error_by_dciodvfy(tmp_path / "out")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", "2013.05.17"), ("PatientSex", "FEMALE"), ("StudyTime", "ten"), ("PatientAge", "4Y"),
        ("AccessionNumber", "A" * 17), ("StudyID", "one\\two"), ("PatientWeight", "heavy"), ("StudyDate", "20189999"),
    ],
)  # fmt: skip
def test_value_that_is_none_of_its_kind_is_left_out_and_the_report_says_so_without_it(blind, tmp_path, keyword, value):
    with pydicom.config.disable_value_validation():
        image = _image(0)
        image[keyword] = pydicom.DataElement(keyword, "LO", value)
        write(image, tmp_path / "in" / "x")
    entry = _series(_written(tmp_path / "in", blind, tmp_path / "out"))
    tag = pydicom.tag.Tag(keyword)
    assert len(entry.notes) == 1 and str(tag) in entry.notes[0] and value not in entry.notes[0]
    for path in (tmp_path / "out").iterdir():
        assert not pydicom.dcmread(path).get(keyword)


def test_header_of_a_deidentified_image_with_nothing_in_it_gives_sound_objects(eager, tmp_path):
    bare = dict.fromkeys([k for k in SOUND if k != "FrameOfReferenceUID"]) | {"PatientID": "", "PatientName": ""}
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113100", "DCM", "Basic Profile"
    bare |= {"PatientIdentityRemoved": "YES", "DeidentificationMethodCodeSequence": [code]}
    _stack(tmp_path / "in", 2, **bare)
    assert _series(_written(tmp_path / "in", eager, tmp_path / "out")).notes == ()
    made = pydicom.dcmread(tmp_path / "out" / "0001.sr.dcm")
    assert (made.PatientID, made.PatientIdentityRemoved) == ("", "YES")
    assert made.DeidentificationMethodCodeSequence == [code]
    _no_error_by_dciodvfy(tmp_path / "out")


_TEXT = ("SpecificCharacterSet", "PatientName", "PatientBirthDate", "PatientSex", "PatientAge", "AccessionNumber",
         "StudyTime", "PatientComments", "ReferringPhysicianName", "StudyDescription")  # fmt: skip


@settings(deadline=None, max_examples=20)
@given(st.dictionaries(st.sampled_from(_TEXT), st.binary(max_size=80)))
def test_header_of_any_bytes_gives_objects_that_can_be_read(blind, tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("bytes")
    stand_ins = {keyword: f"{n:02d}" * 40 for n, keyword in enumerate(_TEXT)} | {"SpecificCharacterSet": "ISO_IR 100"}
    with pydicom.config.disable_value_validation():
        image = _image(0)
        for keyword in values:
            image[keyword] = pydicom.DataElement(keyword, "LO", stand_ins[keyword])
        path = write(image, folder / "in" / "x")
    data = path.read_bytes()
    for keyword, value in values.items():
        old = stand_ins[keyword].encode()
        assert data.count(old) == 1
        data = data.replace(old, value[: len(old)].ljust(len(old)))
    path.write_bytes(data)
    report = _written(folder / "in", blind, folder / "out")
    if not report.studies:
        assert report.files[0].status == REFUSED
    elif _series(report).dicom:
        for path in (folder / "out").iterdir():
            made = pydicom.dcmread(path)
            assert str(made) and made.StudyInstanceUID == "2.25.1" and made.SpecificCharacterSet == "ISO_IR 192"
        assert highdicom.sr.srread(folder / "out" / "0001.sr.dcm")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("StudyInstanceUID", "1.2.x"), ("SeriesInstanceUID", "1.02.3"), ("SOPInstanceUID", "no"), ("PatientID", "P" * 70)],
)
def test_no_object_is_written_that_could_not_be_filed_with_its_source(blind, tmp_path, keyword, value):
    with pydicom.config.disable_value_validation():
        image = _image(0)
        setattr(image, keyword, value)
        write(image, tmp_path / "in" / "x")
    entry = _series(_written(tmp_path / "in", blind, tmp_path / "out"))
    assert entry.dicom == () and list((tmp_path / "out").iterdir()) == []
    assert entry.notes[-1].startswith(f"No DICOM objects were written: {pydicom.tag.Tag(keyword)}")


def test_file_that_is_gone_when_its_objects_are_written_is_a_note(blind, tmp_path):
    _stack(tmp_path / "in", 1)
    writer = DicomWriter(blind.sha256, tmp_path / "out")

    def finish(patient):
        shutil.rmtree(tmp_path / "in")
        writer.write(patient)

    entry = _series(report_of(tmp_path / "in", blind, finish))
    assert entry.dicom == () and entry.notes[0].startswith("No DICOM objects were written: header cannot")


# --- other software


def _told(*command) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def _no_error_by_dciodvfy(folder: Path) -> None:
    if not shutil.which("dciodvfy"):
        return
    for path in folder.iterdir():
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        assert {"SCImage", "Comprehensive3DSR"} & {*told.splitlines()}
        assert "Error" not in told, told


@pytest.fixture(scope="module")
def objects(blind, eager, tmp_path_factory) -> Path:
    """Objects of a classic and of an Enhanced series with lesions, and of one without."""
    root = tmp_path_factory.mktemp("objects")
    for number, (name, models) in enumerate((("classic", eager), ("enhanced", eager), ("clean", blind))):
        uids = {"StudyInstanceUID": f"2.25.{number + 20}", "SeriesInstanceUID": f"2.25.{number + 30}"}
        images = [_image(n, **uids) for n in range(3)]
        for n, image in enumerate([enhanced(images)] if name == "enhanced" else images):
            write(image, root / "in" / name / str(n))
        made = _written(root / "in" / name, models, root / name, LESIONS[:1] if models is eager else None)
        for file in _series(made).dicom:
            shutil.copy(root / name / file, root / f"{name}-{file}")
    return root


needs = {
    tool: pytest.mark.skipif(not (shutil.which(tool) or Path(tool).exists()), reason=f"needs Debian's {package}")
    for tool, package in (("dciodvfy", "dicom3tools"), ("dsrdump", "dcmtk"), (ORTHANC, "orthanc"))
}


@needs["dciodvfy"]
def test_dciodvfy_finds_no_error(objects):
    for path in objects.glob("*.dcm"):
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        assert "Error" not in told, f"{path.name}: {told}"


@needs["dciodvfy"]
def test_dciodvfy_finds_no_error_in_objects_of_other_peoples_images(eager, tmp_path):
    """All MR images among pydicom's test files: whatever their headers lack."""
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    for name in ("MR_small.dcm", "examples_overlay.dcm", "dicomdirtests/98892003"):
        source = root / name
        copy = tmp_path / "in" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy)
    uids = {series.series_uid for series in read_archive(tmp_path / "in").series}
    for number, uid in enumerate(sorted(uids)):
        writer = DicomWriter(eager.sha256, tmp_path / f"out{number}")
        report = report_of(tmp_path / "in", eager, writer.write, uid)
        found = [s for study in report.studies for s in study.series if s.status == "analysed"]
        assert found and all(s.dicom for s in found)
        _no_error_by_dciodvfy(tmp_path / f"out{number}")
    assert len(uids) >= 9


@needs["dsrdump"]
def test_dsrdump_reads_the_report_and_its_boxes(objects):
    told = _told("dsrdump", "+Pl", objects / "classic-0001.sr.dcm")
    for words in ("Comprehensive 3D SR", "UNVERIFIED", '"Lesion 1"', "POLYLINE,5/3,17/3,17/21,5/21,5/3", "C13342"):
        assert words in told, told
    for path in objects.glob("*.sr.dcm"):
        _told("dsrdump", path)


@needs[ORTHANC]
@needs["dsrdump"]
def test_orthanc_takes_the_objects_and_gives_them_back_unchanged(objects, tmp_path):
    """By REST the same bytes; by C-STORE, where the sender writes the file's meta information, the same data set."""
    files = sorted(objects.glob("*.dcm"))
    with orthanc(tmp_path) as (address, port):
        for path in files:
            stored = json.loads(ask(f"{address}/instances", path.read_bytes()))
            assert stored["Status"] == "Success"
            assert ask(f"{address}/instances/{stored['ID']}/file") == path.read_bytes()
            ask(f"{address}/instances/{stored['ID']}", method="DELETE")
        assert json.loads(ask(f"{address}/instances")) == []
        _told("storescu", "-R", "-aet", "NBCAD", "-aec", "ARCHIVE", "127.0.0.1", port, *files)
        back = {}
        for number in json.loads(ask(f"{address}/instances")):
            (tmp_path / "back").write_bytes(ask(f"{address}/instances/{number}/file"))
            back[pydicom.dcmread(tmp_path / "back").SOPInstanceUID] = pydicom.dcmread(tmp_path / "back")
        sent = {made.SOPInstanceUID: made for made in map(pydicom.dcmread, files)}
        assert back == sent and len(sent) == len(files)
        studies = [json.loads(ask(f"{address}/studies/{n}")) for n in json.loads(ask(f"{address}/studies"))]
        assert {s["MainDicomTags"]["StudyInstanceUID"] for s in studies} == {"2.25.20", "2.25.21", "2.25.22"}


def test_own_objects_as_input_are_ignored_so_that_a_study_with_its_results_can_be_analysed_again(objects):
    files = read_archive(objects / "classic").files
    assert [(f.status, f.reason) for f in files] == [(IGNORED, "a result of nbcad, no image of a scanner")] * 2


def test_stages_without_a_public_code_have_a_private_one_and_none_where_none_is_suggested(blind, tmp_path):
    """INSS: 3 and 4 are codes of 99NBCAD; 1, 2A and 2B are no images' to tell apart."""
    models = dataclasses.replace(blind, stages=INSS)
    for number, (best, label) in enumerate([(0, None), (1, None), (2, None), (3, "3"), (4, "4"), (5, "4")]):
        out = tmp_path / f"out{number}"
        found = lesion({1: (3, 5, 20, 17)}, np.eye(6)[best], 0.9)
        report = _written(_stack(tmp_path / f"in{number}", PatientAge="013M"), models, out, [found])
        (name,) = [name for name in _series(report).dicom if name.endswith(".sr.dcm")]
        (group,) = _groups(out / name)
        patient = _content(out / name).get_image_measurement_groups()[0]
        for each in (group, patient):
            stages = [e.value for e in each.get_qualitative_evaluations() if e.name.scheme_designator == "99NBCAD"]
            assert [(s.value, s.scheme_designator) for s in stages] == ([(label, "99NBCAD")] if label else [])
            said = f"Image-suggested stage: {label}." if label else "No stage is suggested."
            assert [text for text in _comments(each) if text.startswith(said)] and "None" not in str(_comments(each))


@pytest.fixture
def only(eager, tmp_path):
    """Models of INSS, with seven outputs, to which everything is a lesion of one stage."""

    def models(stage: str):
        prototxt = tmp_path / "fcn.prototxt"
        prototxt.write_text(Path(heat.FCN).read_text().replace("num_output: 5 ", "num_output: 7 "))
        net = caffe.Net(str(prototxt), caffe.TEST)
        net.params["ip2-conv"][1].data[INSS.index(stage)] = 20
        return dataclasses.replace(eager, stages=INSS, stage_fcn=net)

    return models


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("stage", "label"), [("2A", None), ("3", "3"), ("4S", "4")])
def test_a_whole_report_by_inss_suggests_for_a_lesion_what_it_suggests_for_the_patient(
    only, tmp_path, stage, label, language
):
    models, out = only(stage), tmp_path / "out"
    pages = Pages(tmp_path, Language(language), software(models))
    objects = DicomWriter(models.sha256, out)

    def finish(patient) -> None:
        objects.write(patient)
        pages.add(patient)

    report = report_of(_stack(tmp_path / "in", PatientAge="013M"), models, finish)
    pages.close(report)
    (study,) = report.studies
    labels = [entry.stage.label for entry in _series(report).lesions]
    assert study.stage.label == label and set(labels) == {label}
    assert set(study.stage.probabilities) == set(INSS)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    none = Language(language).gettext("none is suggested")
    assert (f"<td>{none}</td>" in page) == (label is None)
    assert (Language(language).sentence(UNDETERMINED) in page) == (label is None)
    assert [path.name for path in sorted(out.glob("*"))] == sorted(_series(report).dicom)
    assert {"sr", "sc"} <= {path.name.split(".")[1] for path in out.glob("*")}
