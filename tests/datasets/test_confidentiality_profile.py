import re
from datetime import date, timedelta

import pydicom
import pytest
from pydicom import config

from make_identifying import identifying_image, item
from nbcad.datasets import confidentiality_profile as profile

KEY = bytes(range(32))
SECRETS = profile.Secrets(KEY)


def test_copy_says_how_it_was_made(tmp_path, pixels):
    image = identifying_image(pixels)
    profile.clean(image, SECRETS, keep_characteristics=False)
    assert (image.PatientIdentityRemoved, image.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    assert [code.CodeValue for code in image.DeidentificationMethodCodeSequence] == ["113100", "113105", "113107"]
    kept = identifying_image(pixels)
    profile.clean(kept, SECRETS, keep_characteristics=True)
    assert kept.DeidentificationMethodCodeSequence[-1].CodeValue == "113108"


def test_dates_of_a_patient_move_together_and_times_stay(pixels):
    image, later = identifying_image(pixels), identifying_image(pixels)
    later.StudyDate = "20180203"
    for dataset in (image, later):
        profile.clean(dataset, SECRETS, keep_characteristics=False)
    moved = [date.fromisoformat(dataset.StudyDate) for dataset in (image, later)]
    assert moved[1] - moved[0] == date(2018, 2, 3) - date(2017, 12, 24)
    assert 1 <= (date(2017, 12, 24) - moved[0]).days <= profile.LARGEST_SHIFT_DAYS
    assert image.AcquisitionDateTime == image.StudyDate + "101112.5+0100" and image.StudyTime == "101112"
    assert image.PatientBirthDate == ""
    assert SECRETS.shift("one") != SECRETS.shift("other") != profile.Secrets(bytes(32)).shift("other")


@pytest.mark.parametrize(
    ("vr", "text", "moved"),
    [
        ("DA", "20170101", "20161231"), ("DA", "2017.12.24", "20171223"), ("DA", "20171324", ""), ("DA", "201712", ""),
        ("DA", "", ""), ("DT", "2017", ""), ("DT", "20170101101112.25-0500", "20161231101112.25-0500"),
        ("TM", "1011", "1011"), ("TM", "10:11:12.5", "10:11:12.5"), ("TM", "Musterfrau", ""),
    ],
)  # fmt: skip
def test_date_is_moved_and_what_cannot_be_goes(vr, text, moved):
    assert profile.moved_date(text, vr, timedelta(days=-1)) == moved


def test_uids_are_the_same_under_one_key_and_others_under_another():
    uid = "1.2.276.0.7230010.3.1.4.1"
    assert SECRETS.uid(uid) == profile.Secrets(KEY).uid(uid) != profile.Secrets(bytes(32)).uid(uid)
    assert re.fullmatch(r"2\.25\.[1-9]\d{1,38}", SECRETS.uid(uid)) and len(SECRETS.uid(uid)) <= 64
    assert SECRETS.uid("1.2.840.10008.5.1.4.1.1.4") == "1.2.840.10008.5.1.4.1.1.4"


def test_of_a_description_only_the_kind_of_image_stays(pixels):
    image = identifying_image(pixels)
    profile.clean(image, SECRETS, keep_characteristics=False)
    assert (image.SeriesDescription, image.ProtocolName) == ("T2 TSE ax b-50", "t1 vibe")
    assert image.ManufacturerModelName == profile.DUMMY and "StudyDescription" not in image


def test_age_stays_only_if_asked_for_if_need_be_from_the_dates(pixels):
    for keep, given, age in ((False, "003Y", None), (True, "003Y", "040M"), (True, None, "040M")):
        image = identifying_image(pixels)
        image.PatientAge = given
        profile.clean(image, SECRETS, keep)
        assert image.get("PatientAge") == age
        assert image.PatientSex == ("F" if keep else "")


@pytest.mark.parametrize(
    ("born", "given", "age"),
    [
        ("20160701", "001Y", "017M"),  # 24 December 2017 is within the 18th month
        ("2016.07.01", "001Y", "017M"),
        ("20160701", "077W", "077W"),  # no wider than the month
        ("20160701", "078W", "017M"),
        ("20160701", "029M", "017M"),  # the dates come first, as they do where the original is read
        ("", "017M", "017M"),
        ("", "17M", "017M"),
        ("", "001Y", "001Y"),
        ("", "born in July 2016", ""),
    ],
)
def test_kept_age_means_the_months_of_the_original_and_no_others(pixels, born, given, age):
    with config.disable_value_validation():
        image = identifying_image(pixels)
        image.PatientBirthDate, image.PatientAge = born, given
    profile.clean(image, SECRETS, keep_characteristics=True)
    assert image.PatientAge == age


def test_names_of_outlined_lesions_stay_and_other_names_go(pixels):
    image = identifying_image(pixels)
    image.StructureSetROISequence = [item(ROIName="GTV-1 Musterfrau"), item(ROIName="Dr. Radtke")]
    profile.clean(image, SECRETS, keep_characteristics=False)
    assert [roi.ROIName for roi in image.StructureSetROISequence] == ["GTV", ""]


def test_table_e_1_1_is_there_whole():
    """Some attributes of each kind, looked up by hand in PS3.15; and of curves and overlays everything goes."""
    expected = {
        "PatientName": "Z", "PatientID": "Z/D", "PatientAge": "X", "SOPInstanceUID": "U", "StationName": "X/Z/D",
        "ReferencedImageSequence": "X/Z/U*", "ProtocolName": "X/D", "AcquisitionTime": "X/Z", "ContentSequence": "D",
        "PixelSpacing": "", "IconImageSequence": "X",
    }  # fmt: skip
    assert {keyword: profile.profile_action(pydicom.tag.Tag(keyword)) for keyword in expected} == expected
    for tag in (0x50003000, 0x601E3000, 0x60000010, 0x00290010, 0xFFFAFFFA, 0xFFFCFFFC, 0x0008FFF0):
        assert profile.profile_action(pydicom.tag.Tag(tag)) == "X"
