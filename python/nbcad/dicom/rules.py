"""Which series are analysed and trained on: rules in a file that a hospital can edit (`config/series_rules.toml`)."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from nbcad.dicom import Series
from nbcad.errors import InputError
from nbcad.runtime.paths import SERIES_RULES

_UNKNOWN = "unknown"
_WEIGHTINGS = ("T1", "T2", "DWI", _UNKNOWN)
_PLANES = ("axial", "coronal", "sagittal", _UNKNOWN)


@dataclass(frozen=True)
class Decision:
    """Whether a series is taken, and why."""

    rule: str  # that took it, or that refused it; several are joined by "; "
    reason: str  # why it is not taken; empty if it is


@dataclass(frozen=True)
class Rule:
    """One ``[[take]]``; what is None asks for nothing."""

    name: str
    weighting: list[str] | None = None
    plane: list[str] | None = None
    b_value: list[float] | None = None
    description: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None
    min_slices: int = 1

    def reason_against(self, series: Series) -> str:
        """The first condition that a series does not meet; empty if it meets all."""
        weighting, plane = series.weighting or _UNKNOWN, series.plane or _UNKNOWN
        if self.weighting is not None and weighting not in self.weighting:
            return f"weighting is {weighting}, not {' or '.join(self.weighting)}"
        if self.plane is not None and plane not in self.plane:
            return f"plane is {plane}, not {' or '.join(self.plane)}"
        if self.b_value is not None:
            low, high = self.b_value
            if series.b_value is None or not low <= series.b_value <= high:
                found = "not known" if series.b_value is None else f"{series.b_value:g} s/mm2"
                return f"b-value is {found}, not {low:g} to {high:g}"
        if self.description and not self.description.search(series.description):
            return f"description {series.description!r} does not match {self.description.pattern!r}"
        if self.exclude and self.exclude.search(series.description):
            return f"description {series.description!r} matches {self.exclude.pattern!r}, which is excluded"
        if len(series.slices) < self.min_slices:
            return f"{len(series.slices)} slices are fewer than {self.min_slices}"
        return ""


def read_rules(path: str | Path = SERIES_RULES) -> list[Rule]:
    """The rules in ``path``, in order.

    Raises:
        InputError: the file is missing or malformed; the message names the file and the key.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"series rules {path} cannot be read: {error.strerror}; git checkout brings it back"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"series rules {path} are no TOML: {error}") from error
    for key in content.keys() - {"take"}:
        raise InputError(f"series rules {path}: key {key!r} is not known; rules are [[take]]")
    tables = content.get("take")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"series rules {path}: no [[take]] stands in it, so that no series would be taken")
    rules = [_rule(table, f"series rules {path}: [[take]] {number}") for number, table in enumerate(tables, start=1)]
    if len({rule.name for rule in rules}) < len(rules):
        raise InputError(f"series rules {path}: two rules have one name")
    return rules


def decide(series: Series, rules: list[Rule], only_series: str | None = None) -> Decision:
    """Return whether any of the rules takes a series.

    Args:
        series: in question.
        rules: of `read_rules`.
        only_series: a SeriesInstanceUID that is taken whatever the rules say, and nothing else.
    """
    if only_series is not None:
        asked_for = series.series_uid == only_series
        return Decision("--series", "" if asked_for else "another series was asked for")
    against = {rule.name: rule.reason_against(series) for rule in rules}
    for name, reason in against.items():
        if not reason:
            return Decision(name, "")
    return Decision("; ".join(against), "; ".join(f"rule {name!r}: {reason}" for name, reason in against.items()))


def _rule(table: dict, where: str) -> Rule:
    """One checked rule."""
    for key in table.keys() - Rule.__dataclass_fields__.keys():
        raise InputError(f"{where}: key {key!r} is not known; known are {', '.join(Rule.__dataclass_fields__)}")
    name = table.get("name")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}: key 'name' is missing or empty")
    return Rule(
        name=name,
        weighting=_some_of(_WEIGHTINGS, table, "weighting", where),
        plane=_some_of(_PLANES, table, "plane", where),
        description=_pattern(table, "description", where),
        exclude=_pattern(table, "exclude", where),
        b_value=_bounds(table, where),
        min_slices=_least_slices(table, where),
    )


def _some_of(allowed: tuple[str, ...], table: dict, key: str, where: str) -> list[str] | None:
    if key not in table:
        return None
    value = table[key]
    if not isinstance(value, list) or not value or any(entry not in allowed for entry in value):
        raise InputError(f"{where}: key {key!r} is {value!r}, not a list of {', '.join(allowed)}")
    return value


def _bounds(table: dict, where: str) -> list[float] | None:
    if "b_value" not in table:
        return None
    value = table["b_value"]
    if not isinstance(value, list) or len(value) != 2 or not all(map(_number, value)) or value[0] > value[1]:
        raise InputError(f"{where}: key 'b_value' is {value!r}, not [lowest, highest]")
    return value


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _least_slices(table: dict, where: str) -> int:
    value = table.get("min_slices", Rule.min_slices)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{where}: key 'min_slices' is {value!r}, not a whole number of at least 1")
    return value


def _pattern(table: dict, key: str, where: str) -> re.Pattern[str] | None:
    if key not in table:
        return None
    text = table[key]
    try:
        return re.compile(text, re.IGNORECASE)
    except (re.error, TypeError) as error:
        raise InputError(f"{where}: key {key!r} is {text!r}, no regular expression: {error}") from error
