"""The structured report: the numbers of report.json, coded, on the images they are of."""

import dataclasses

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from pydicom.uid import (
    EnhancedMRImageStorage,
    MRImageStorage,
)

from make_analysis import INSS, lesion
from make_dicom import enhanced, write
from make_objects import (
    FRAME,
    LESIONS,
    STAGED,
    boxes_of,
    codes_of,
    comments_of,
    content_of,
    image_of_study,
    lesion_groups,
    no_error_by_dciodvfy,
    only_series,
    places_in_patient,
    write_objects,
    write_stack,
)
from nbcad.inference.site import Situation, Situations
from nbcad.nets.labels import OTHER


@pytest.mark.parametrize("kind", ["classic", "enhanced", "oblique"])
def test_sr_has_the_numbers_of_report_json(blind, tmp_path, kind):
    source = tmp_path / "in"
    if kind == "enhanced":
        write(enhanced([image_of_study(n) for n in range(4)]), source / "x")
    elif kind == "oblique":
        turn = np.deg2rad(20)
        axes = [np.cos(turn), 0, np.sin(turn), 0, 1, 0]
        for n in range(4):
            place = np.cross(axes[:3], axes[3:]) * 5.0 * n
            write(image_of_study(n, ImageOrientationPatient=axes, ImagePositionPatient=place.tolist()), source / str(n))
    else:
        write_stack(source)
    entry = only_series(write_objects(source, blind, tmp_path / "out", LESIONS))
    assert entry.dicom == ("0001.sr.dcm", "0001-01.sc.dcm", "0001-02.sc.dcm") and entry.notes == ()
    assert sorted(entry.dicom) == sorted(p.name for p in (tmp_path / "out").iterdir())
    groups = lesion_groups(tmp_path / "out" / "0001.sr.dcm")
    assert [type(g).__name__.partition("ROI")[0] for g in groups] == ["Volumetric", "Planar"]
    for group, expected in zip(groups, entry.lesions, strict=True):
        assert boxes_of(group) == expected.boxes
        found = places_in_patient(group)
        np.testing.assert_allclose(found["Center"], [expected.centre_mm], atol=1e-4)  # float32
        np.testing.assert_allclose(found["Bounded by"], expected.box_mm, atol=1e-4)
        (certainty,) = group.get_measurements(codes.DCM.CertaintyOfFinding)
        assert (round(certainty.value / 100, 4), certainty.unit.value) == (expected.probability, "%")
        assert "C133427" not in codes_of(group) and comments_of(group) == []  # the stage is the patient's


def test_sr_measures_volume_and_diameters_and_says_how(blind, tmp_path):
    write_stack(tmp_path / "in")
    entry = only_series(write_objects(tmp_path / "in", blind, tmp_path / "out", LESIONS[:1]))
    (group,) = lesion_groups(tmp_path / "out" / "0001.sr.dcm")
    diameters = entry.lesions[0].diameters_mm
    for name, value, unit in (
        (codes.SCT.Volume, entry.lesions[0].volume_mm3, "mm3"),
        (codes.SCT.LongAxis, diameters.long_axis, "mm"),
        (codes.SCT.ShortAxis, diameters.short_axis, "mm"),
        (codes.SCT.LengthProperty, diameters.craniocaudal, "mm"),
    ):
        (measured,) = group.get_measurements(name)
        assert (measured.value, measured.unit.value) == (value, unit)
        assert measured.method.scheme_designator == "99NBCAD"


@pytest.mark.parametrize(
    ("situation", "site", "laterality"),
    [
        (Situation("left", "adrenal"), "23451007", "7771000"),
        (Situation("right", "retroperitoneum"), "82849001", "24028007"),
        (Situation("midline", "thorax"), "816094009", None),
        (Situation("left", None), None, None),
        (Situation(None, None), None, None),
    ],
)
def test_sr_codes_a_site_with_its_side_and_none_where_it_is_not_determined(
    blind, tmp_path, monkeypatch, situation, site, laterality
):
    monkeypatch.setattr(Situations, "of", lambda self, boxes: situation)
    write_objects(write_stack(tmp_path / "in"), blind, tmp_path / "out", LESIONS)
    for group in lesion_groups(tmp_path / "out" / "0001.sr.dcm"):
        sites = [(one.value.value, one.laterality and one.laterality.value) for one in group.finding_sites]
        assert sites == ([(site, laterality)] if site else [])
        assert "123014" not in codes_of(group)  # the region is the slices'
    no_error_by_dciodvfy(tmp_path / "out")


def test_sr_refers_to_every_source_image_and_sorts_it_into_a_region(blind, tmp_path):
    write_stack(tmp_path / "in")
    entry = only_series(write_objects(tmp_path / "in", blind, tmp_path / "out", LESIONS))
    report = highdicom.sr.srread(tmp_path / "out" / "0001.sr.dcm")
    expected = {("2.25.1", "2.25.2", s.sop_uid, MRImageStorage) for s in entry.slices}
    assert set(report.get_evidence()) == expected and len(expected) == 4
    (library,) = [i for i in report.content[0].ContentSequence if i.name == codes.DCM.ImageLibrary]
    images = [i for i in library.ContentSequence[0].ContentSequence if i.ValueType == "IMAGE"]
    assert [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in images] == [s.sop_uid for s in entry.slices]
    groups = report.content.get_image_measurement_groups()
    (region,) = [g for g in groups if g.source_images]
    assert codes_of(region) == {"123014": "23451007"} and len(region.source_images) == 4


def test_used_frames_of_an_enhanced_object_are_referred_to_by_number(blind, tmp_path):
    images = [image_of_study(n) for n in range(4)]
    images[1].PixelData = bytes(len(images[1].PixelData))
    one = enhanced(images)
    write(one, tmp_path / "in" / "x")
    write_objects(tmp_path / "in", blind, tmp_path / "out", [])
    report = highdicom.sr.srread(tmp_path / "out" / "0001.sr.dcm")
    assert report.get_evidence() == [("2.25.1", "2.25.2", one.SOPInstanceUID, EnhancedMRImageStorage)]
    (region,) = [g for g in report.content.get_image_measurement_groups() if g.source_images]
    assert region.source_images[0].referenced_frame_numbers == [1, 3, 4]


def test_image_without_position_gets_boxes_but_no_place_in_the_patient(eager, tmp_path):
    write(image_of_study(0, ImagePositionPatient=None, ImageOrientationPatient=None), tmp_path / "in" / "x")
    entry = only_series(write_objects(tmp_path / "in", eager, tmp_path / "out"))
    (group,) = lesion_groups(tmp_path / "out" / "0001.sr.dcm")
    assert boxes_of(group) == entry.lesions[0].boxes
    assert places_in_patient(group) == {} and group.finding_sites == []
    names = {measured.name.meaning for measured in group.get_measurements()}
    assert names == {"Certainty of Finding", "Long Axis", "Short Axis"}
    capture = pydicom.dcmread(tmp_path / "out" / "0001-01.sc.dcm")
    assert not capture.PatientOrientation
    no_error_by_dciodvfy(tmp_path / "out")


@pytest.mark.parametrize("uids", [(None, None), ("", ""), ("1.2.x", "1.2.x"), (FRAME, "2.25.78")])
def test_images_without_one_frame_of_reference_get_no_place_in_patient(eager, tmp_path, uids):
    for n, uid in enumerate(uids):
        with pydicom.config.disable_value_validation():
            image = image_of_study(n)
            image.FrameOfReferenceUID = uid or ""
            if uid is None:
                del image.FrameOfReferenceUID
            write(image, tmp_path / "in" / str(n))
    entry = only_series(write_objects(tmp_path / "in", eager, tmp_path / "out"))
    (group,) = lesion_groups(tmp_path / "out" / "0001.sr.dcm")
    assert places_in_patient(group) == {} and boxes_of(group) == entry.lesions[0].boxes
    assert any("(0020,0052) Frame of Reference UID" in str(note) for note in entry.notes)


def _group_of_patient(path):
    (group,) = [g for g in content_of(path).get_image_measurement_groups() if not g.source_images]
    return group


def test_stage_of_the_patient_is_coded_and_called_image_suggested(blind, tmp_path):
    write_stack(tmp_path / "in")
    stage = write_objects(tmp_path / "in", blind, tmp_path / "out", LESIONS[:1]).studies[0].stage
    group = _group_of_patient(tmp_path / "out" / "0001.sr.dcm")
    assert codes_of(group) == {"C133427": STAGED[stage.label]}
    suited, trained, suggested, *notes = comments_of(group)
    assert suited.startswith("The images are like those") and "trained on" in trained
    assert suggested.startswith(f"Image-suggested stage: {stage.label}. Probabilities: normal 0.1235, L1")
    assert notes == list(map(str, stage.notes))


def test_algorithm_and_models_are_named_in_the_report(blind, tmp_path):
    write_stack(tmp_path / "in")
    write_objects(tmp_path / "in", blind, tmp_path / "out", LESIONS[:1])
    group = _group_of_patient(tmp_path / "out" / "0001.sr.dcm")
    texts = {item.value for item in group[0].ContentSequence if item.ValueType == "TEXT"}
    assert {"nbcad", "organ_net sha256:" + "0" * 64} <= texts


def test_study_without_a_lesion_has_no_stage_and_says_why(blind, tmp_path):
    write_stack(tmp_path / "in")
    report = write_objects(tmp_path / "in", blind, tmp_path / "out")
    content = content_of(tmp_path / "out" / "0001.sr.dcm")
    groups = content.get_image_measurement_groups()
    assert codes_of(groups[0]) == {} and lesion_groups(tmp_path / "out" / "0001.sr.dcm") == []
    assert list(map(str, report.studies[0].stage.notes)) == comments_of(groups[0])[2:]
    assert only_series(report).dicom == ("0001.sr.dcm", "0001-01.sc.dcm")


def test_region_without_a_code_is_a_private_one_and_no_site(eager, tmp_path):
    write_stack(tmp_path / "in")
    write_objects(tmp_path / "in", eager, tmp_path / "out", region=OTHER)
    groups = content_of(tmp_path / "out" / "0001.sr.dcm").get_image_measurement_groups()
    (region,) = [e for g in groups if g.source_images for e in g.get_qualitative_evaluations()]
    assert (region.value.value, region.value.scheme_designator) == (OTHER, "99NBCAD")
    (group,) = lesion_groups(tmp_path / "out" / "0001.sr.dcm")
    assert group.finding_sites == []


def test_stage_of_another_staging_system_is_not_coded_as_one_of_inrg(eager, tmp_path, monkeypatch):
    monkeypatch.setattr(eager, "stages", ["normal", "1", "2A", "4", "4S"])
    write_stack(tmp_path / "in")
    label = write_objects(tmp_path / "in", eager, tmp_path / "out").studies[0].stage.label
    group = _group_of_patient(tmp_path / "out" / "0001.sr.dcm")
    assert label in eager.stages and codes_of(group)["stage"] == label and "C133427" not in codes_of(group)


def test_lesion_keeps_its_tracking_uid_in_new_objects_of_each_run(eager, blind, tmp_path):
    write_stack(tmp_path / "in")
    tracking, objects = [], set()
    for n in range(2):
        write_objects(tmp_path / "in", eager, tmp_path / f"out{n}")
        (group,) = lesion_groups(tmp_path / f"out{n}" / "0001.sr.dcm")
        tracking.append(group.tracking_uid)
        for path in (tmp_path / f"out{n}").iterdir():
            made = pydicom.dcmread(path)
            objects |= {made.SOPInstanceUID, made.SeriesInstanceUID}
    assert tracking[0] == tracking[1] and len(objects) == 8
    write_objects(tmp_path / "in", eager, tmp_path / "moved", LESIONS[:1])
    assert lesion_groups(tmp_path / "moved" / "0001.sr.dcm")[0].tracking_uid != tracking[0]


def test_stage_without_a_public_code_has_a_private_one_if_suggested(blind, tmp_path):
    """INSS: 3 and 4 are codes of 99NBCAD; 1, 2A and 2B are no images' to tell apart."""
    models = dataclasses.replace(blind, stages=INSS)
    for number, (best, label) in enumerate([(0, None), (1, None), (2, None), (3, "3"), (4, "4"), (5, "4")]):
        out = tmp_path / f"out{number}"
        found = lesion({1: (3, 5, 20, 17)}, np.eye(6)[best], 0.9)
        report = write_objects(write_stack(tmp_path / f"in{number}", PatientAge="013M"), models, out, [found])
        (name,) = [name for name in only_series(report).dicom if name.endswith(".sr.dcm")]
        group = _group_of_patient(out / name)
        stages = [e.value for e in group.get_qualitative_evaluations() if e.name.scheme_designator == "99NBCAD"]
        assert [(s.value, s.scheme_designator) for s in stages] == ([(label, "99NBCAD")] if label else [])
        said = f"Image-suggested stage: {label}." if label else "No stage is suggested."
        comments = comments_of(group)
        assert [text for text in comments if text.startswith(said)] and "None" not in str(comments)
