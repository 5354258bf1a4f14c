"""The header of DICOM objects: the source's patient and study, whatever a hospital writes into them."""

import zipfile

import highdicom
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from make_dicom import as_stored, write
from make_objects import SOUND, image_of_study, no_error_by_dciodvfy, only_series, write_objects, write_stack
from nbcad.dicom import REFUSED


def test_objects_belong_to_the_patient_and_study_of_their_source(eager, tmp_path):
    write_stack(tmp_path / "in")
    write_objects(tmp_path / "in", eager, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        made = pydicom.dcmread(path)
        for keyword, value in SOUND.items():
            if keyword not in ("FrameOfReferenceUID", "InstitutionName"):
                assert made[keyword].value == value, keyword
        assert (made.PatientID, made.StudyInstanceUID) == ("P1", "2.25.1")
        assert made.SeriesInstanceUID != "2.25.2" and "InstitutionName" not in made


def test_objects_say_that_they_are_for_research_and_not_verified(eager, tmp_path):
    write_stack(tmp_path / "in")
    write_objects(tmp_path / "in", eager, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        made = pydicom.dcmread(path)
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
    image = image_of_study(0, SpecificCharacterSet="GB18030", PatientName="王^小东", PatientWeight="17.5")
    if syntax == "zip":
        path = write(image, tmp_path / "x")
        with zipfile.ZipFile(tmp_path / "in", "w") as archive:
            archive.write(path, "some/x")
    else:
        write(as_stored(image, syntax), tmp_path / "in" / "x")
    assert only_series(write_objects(tmp_path / "in", blind, tmp_path / "out")).notes == ()
    made = pydicom.dcmread(tmp_path / "out" / "0001.sr.dcm")
    assert (made.PatientName, made.PatientWeight, made.StudyDate) == ("王^小东", 17.5, "20180321")


def test_phantom_is_marked_as_none_of_a_patient(blind, tmp_path):
    write_stack(tmp_path / "in", QualityControlImage="YES")
    write_objects(tmp_path / "in", blind, tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert pydicom.dcmread(path).QualityControlSubject == "YES"


def test_chinese_name_is_written_in_unicode(blind, tmp_path):
    name = "Wang^XiaoDong=王^小东"
    write_stack(tmp_path / "in", 1, SpecificCharacterSet="GB18030", PatientName=name)
    entry = only_series(write_objects(tmp_path / "in", blind, tmp_path / "out"))
    assert entry.notes == ()
    for path in (tmp_path / "out").iterdir():
        made = pydicom.dcmread(path)
        assert (made.PatientName, made.SpecificCharacterSet) == (name, "ISO_IR 192")


@pytest.mark.parametrize("charset", [None, "ISO_IR 999", "ISO_IR 192"])
def test_name_in_unknown_characters_stays_empty_with_a_note(blind, tmp_path, charset):
    write_stack(tmp_path / "in", 1, PatientName="WANG^XX")
    path = tmp_path / "in" / "0"
    data = path.read_bytes()
    assert data.count(b"WANG^XX ") == 1
    if charset:
        element = b"\x08\x00\x05\x00CS" + len(charset).to_bytes(2, "little") + charset.encode()
        first = data.index(b"\x08\x00\x16\x00UI")
        data = data[:first] + element + data[first:]
    path.write_bytes(data.replace(b"WANG^XX ", "王^小东".encode("gb18030")[:7].ljust(8)))
    entry = only_series(write_objects(tmp_path / "in", blind, tmp_path / "out"))
    (note,) = entry.notes
    assert "(0010,0010) Patient's Name is not copied" in str(note) and "(0008,0005) Specific Character Set" in str(note)
    assert pydicom.dcmread(tmp_path / "out" / "0001.sr.dcm").PatientName == ""
    no_error_by_dciodvfy(tmp_path / "out")


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientBirthDate", "2013.05.17"), ("PatientSex", "FEMALE"), ("StudyTime", "ten"), ("PatientAge", "4Y"),
        ("AccessionNumber", "A" * 17), ("StudyID", "one\\two"), ("PatientWeight", "heavy"), ("StudyDate", "20189999"),
    ],
)  # fmt: skip
def test_value_that_is_none_of_its_kind_is_left_out_with_a_note(blind, tmp_path, keyword, value):
    with pydicom.config.disable_value_validation():
        image = image_of_study(0)
        image[keyword] = pydicom.DataElement(keyword, "LO", value)
        write(image, tmp_path / "in" / "x")
    entry = only_series(write_objects(tmp_path / "in", blind, tmp_path / "out"))
    tag = pydicom.tag.Tag(keyword)
    assert len(entry.notes) == 1 and str(tag) in str(entry.notes[0]) and value not in str(entry.notes[0])
    for path in (tmp_path / "out").iterdir():
        assert not pydicom.dcmread(path).get(keyword)


def test_bare_header_of_a_deidentified_image_gives_sound_objects(eager, tmp_path):
    bare = dict.fromkeys([k for k in SOUND if k != "FrameOfReferenceUID"]) | {"PatientID": "", "PatientName": ""}
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113100", "DCM", "Basic Profile"
    bare |= {"PatientIdentityRemoved": "YES", "DeidentificationMethodCodeSequence": [code]}
    write_stack(tmp_path / "in", 2, **bare)
    assert only_series(write_objects(tmp_path / "in", eager, tmp_path / "out")).notes == ()
    made = pydicom.dcmread(tmp_path / "out" / "0001.sr.dcm")
    assert (made.PatientID, made.PatientIdentityRemoved) == ("", "YES")
    assert made.DeidentificationMethodCodeSequence == [code]
    no_error_by_dciodvfy(tmp_path / "out")


_TEXT = ("SpecificCharacterSet", "PatientName", "PatientBirthDate", "PatientSex", "PatientAge", "AccessionNumber",
         "StudyTime", "PatientComments", "ReferringPhysicianName", "StudyDescription")  # fmt: skip


@settings(deadline=None, max_examples=20)
@given(st.dictionaries(st.sampled_from(_TEXT), st.binary(max_size=80)))
def test_header_of_any_bytes_gives_objects_that_can_be_read(blind, tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("bytes")
    stand_ins = {keyword: f"{n:02d}" * 40 for n, keyword in enumerate(_TEXT)} | {"SpecificCharacterSet": "ISO_IR 100"}
    with pydicom.config.disable_value_validation():
        image = image_of_study(0)
        for keyword in values:
            image[keyword] = pydicom.DataElement(keyword, "LO", stand_ins[keyword])
        path = write(image, folder / "in" / "x")
    data = path.read_bytes()
    for keyword, value in values.items():
        old = stand_ins[keyword].encode()
        assert data.count(old) == 1
        data = data.replace(old, value[: len(old)].ljust(len(old)))
    path.write_bytes(data)
    report = write_objects(folder / "in", blind, folder / "out")
    if not report.studies:
        assert report.files[0].status == REFUSED
    elif only_series(report).dicom:
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
        image = image_of_study(0)
        setattr(image, keyword, value)
        write(image, tmp_path / "in" / "x")
    entry = only_series(write_objects(tmp_path / "in", blind, tmp_path / "out"))
    assert entry.dicom == () and list((tmp_path / "out").iterdir()) == []
    assert str(entry.notes[-1]).startswith(f"No DICOM objects were written: {pydicom.tag.Tag(keyword)}")
