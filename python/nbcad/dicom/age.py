"""The age at a study, in completed months, as exactly as the header tells it and no more.

Birth and study date tell the month. Patient's Age in years leaves twelve months open, within which a stage of the young
may end.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

_DATE = re.compile(r"([0-9]{4})([.-]?)([0-9]{2})\2([0-9]{2})")  # PS3.5 6.2, DA; with dots as ACR-NEMA wrote it
_AGE = re.compile(r"([0-9]{1,3})([DWMY])")  # PS3.5 6.2, AS, where some leave leading zeros out
_NOBODY_YEARS = 110  # a birth date before that stands for none, as 19000101 does
_DAYS_OF_FOUR_YEARS = 1461


@dataclass(frozen=True, slots=True)
class Age:
    """An age in completed months, known to lie between two numbers, both included."""

    least_months: int
    most_months: int

    @classmethod
    def exactly(cls, months: int) -> "Age":
        """Return an age that is known to the month."""
        return cls(months, months)

    @property
    def months(self) -> int | None:
        """Return the age in completed months, or None where it is not known to the month."""
        return self.least_months if self.least_months == self.most_months else None


def age_at_study(birth_date: str, study_date: str, stated: str) -> Age | None:
    """Return the patient's age at the study, or None where the header does not tell.

    Args:
        birth_date, study_date: values of (0010,0030) and (0008,0020), which count first.
        stated: value of (0010,1010) Patient's Age, for where one of the dates is missing or cannot be true.
    """
    born, studied = read_date(birth_date), read_date(study_date)
    if born and studied and 0 <= (months := months_between(born, studied)) < 12 * _NOBODY_YEARS:
        return Age.exactly(months)
    return read_age(stated)


def age_of_all(ages: Iterable[Age | None]) -> Age | None:
    """Return the age that several headers of one study tell together; if they contradict each other, all they say."""
    known = [age for age in ages if age is not None]
    if not known:
        return None
    least, most = max(age.least_months for age in known), min(age.most_months for age in known)
    if least <= most:
        return Age(least, most)
    return Age(min(age.least_months for age in known), max(age.most_months for age in known))


def read_date(text: str) -> date | None:
    """Return a DA value as a date, also of the old form 2023.09.01; None if it is no day."""
    found = _DATE.fullmatch(text.strip())
    if not found:
        return None
    try:
        return date(int(found[1]), int(found[3]), int(found[4]))
    except ValueError:
        return None


def read_age(text: str) -> Age | None:
    """Return the months that an AS value allows ("001Y": 12 to 23); None if it tells no age.

    000Y tells none: it stands where an age was taken away, and infants have days, weeks or months.
    """
    found = _AGE.fullmatch(text.strip())
    if not found:
        return None
    number, unit = int(found[1]), found[2]
    if unit == "Y":
        return Age(12 * number, 12 * number + 11) if number else None
    if unit == "M":
        return Age.exactly(number)
    days = 7 * number if unit == "W" else number
    return Age(_months_of(days)[0], _months_of(days + 6 if unit == "W" else days)[1])


def age_text(age: Age) -> str:
    """Return an age as an AS value that allows no other months, or in years where months have more than three digits.

    Raises:
        ValueError: the age is not known to the month.
    """
    if age.months is None:
        raise ValueError(f"{age} is not known to the month")
    return f"{age.months:03d}M" if age.months < 1000 else f"{age.months // 12:03d}Y"


@lru_cache(maxsize=256)
def _months_of(days: int) -> tuple[int, int]:
    """Return the fewest and the most completed months in so many days, which depends on the day of birth."""
    births = (date(2000, 1, 1) + timedelta(days=day) for day in range(_DAYS_OF_FOUR_YEARS))
    months = [months_between(born, born + timedelta(days=days)) for born in births]
    return min(months), max(months)


def months_between(born: date, studied: date) -> int:
    """Whole months from one day to the other; negative if the second comes first."""
    return (studied.year - born.year) * 12 + studied.month - born.month - (studied.day < born.day)
