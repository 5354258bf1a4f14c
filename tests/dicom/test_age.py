"""The age at a study: dates before Patient's Age, and no month that the header does not tell."""

from datetime import date, timedelta

import numpy as np
import pytest
from pydicom import config

from make_dicom import mr_image, write
from nbcad.dicom import read_archive
from nbcad.dicom.age import Age, age_of_all, age_text, months_between, read_age, read_date

PIXELS = np.arange(12, dtype=np.uint16).reshape(3, 4)


@pytest.mark.parametrize(
    ("elements", "least", "most"),
    [
        # Dates that say 20 months beside an age in years, which is 12 to 23.
        ({"PatientAge": "001Y", "PatientBirthDate": "20220901", "StudyDate": "20240510"}, 20, 20),
        ({"PatientAge": "001Y", "PatientBirthDate": "2022.09.01", "StudyDate": "2024.05.10"}, 20, 20),
        ({"PatientAge": "005Y", "PatientBirthDate": "20220901", "StudyDate": "20240510"}, 20, 20),
        ({"PatientBirthDate": "20200115", "StudyDate": "20210714"}, 17, 17),
        ({"PatientBirthDate": "20200115", "StudyDate": "20210715"}, 18, 18),
        # A date is missing, no date, or not that of this patient.
        ({"PatientAge": "001Y", "PatientBirthDate": "20220901"}, 12, 23),
        ({"PatientAge": "001Y", "PatientBirthDate": "", "StudyDate": "20240510"}, 12, 23),
        ({"PatientAge": "017M", "PatientBirthDate": "20221301", "StudyDate": "20240510"}, 17, 17),
        ({"PatientAge": "017M", "PatientBirthDate": "2022", "StudyDate": "20240510"}, 17, 17),
        ({"PatientAge": "017M", "PatientBirthDate": "20240511", "StudyDate": "20240510"}, 17, 17),
        ({"PatientAge": "017M", "PatientBirthDate": "19000101", "StudyDate": "20240510"}, 17, 17),
        ({"PatientAge": "003Y"}, 36, 47),
        ({"PatientAge": "000Y"}, None, None),  # stands where an age was taken away
        ({"PatientAge": "about 2"}, None, None),
        ({}, None, None),
    ],
)
def test_dates_tell_the_month_and_patients_age_only_an_interval(tmp_path, elements, least, most):
    with config.disable_value_validation():
        write(mr_image(PIXELS, **elements), tmp_path / "x")
    (series,) = read_archive(tmp_path).series
    assert series.age == (None if least is None else Age(least, most))


@pytest.mark.parametrize(
    ("text", "least", "most", "months"),
    [
        ("017M", 17, 17, 17), ("17M", 17, 17, 17), ("001Y", 12, 23, None), ("010Y ", 120, 131, None),
        ("006W", 1, 1, 1), ("078W", 17, 18, None), ("547D", 17, 18, None), ("545D", 17, 17, 17), ("000D", 0, 0, 0),
    ],
)  # fmt: skip
def test_patients_age_is_every_month_that_its_unit_allows(text, least, most, months):
    age = read_age(text)
    assert age == Age(least, most) and age.months == months


def test_days_are_counted_from_every_day_of_birth():
    """An interval from days or weeks holds the months of any child of that age, and is no wider."""
    for text, spread in (("078W", 7), ("365D", 1)):
        days = int(text[:3]) * spread
        births = [date(2019, 1, 1) + timedelta(days=day) for day in range(1461)]
        lived = {months_between(born, born + timedelta(days=days + more)) for born in births for more in range(spread)}
        assert read_age(text) == Age(min(lived), max(lived))


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("20230901", date(2023, 9, 1)), ("2023.09.01", date(2023, 9, 1)), ("2023.09.01 ", date(2023, 9, 1)),
        ("2023.0901", None), ("202309", None), ("20230931", None), ("2023.09.01-2023.09.02", None), ("", None),
    ],
)  # fmt: skip
def test_date_is_read_in_the_form_of_today_and_in_that_of_acr_nema(text, day):
    assert read_date(text) == day


def test_age_of_a_study_is_what_all_its_headers_allow():
    exact, year, other = Age.exactly(17), Age(12, 23), Age(24, 35)
    assert age_of_all([None, year, exact]) == exact
    assert age_of_all([year, other]) == Age(12, 35)  # they contradict each other
    assert age_of_all([None]) is None


def test_written_age_allows_no_other_month():
    assert read_age(age_text(Age.exactly(17))) == Age.exactly(17)
    assert age_text(Age.exactly(1000)) == "083Y"
    with pytest.raises(ValueError, match="month"):
        age_text(Age(12, 23))
