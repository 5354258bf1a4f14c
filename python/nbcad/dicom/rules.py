"""Which series are analysed and trained on: rules in a file that a hospital can edit (`config/series_rules.toml`)."""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from nbcad.dicom import Series
from nbcad.dicom.weighting import WEIGHTINGS
from nbcad.dicom.words import found_in
from nbcad.errors import InputError
from nbcad.language.message import EMPTY, Message, Value, joined, message
from nbcad.language.terms import term
from nbcad.runtime.paths import SERIES_RULES

_UNKNOWN = "unknown"
_WEIGHTINGS = (*WEIGHTINGS, _UNKNOWN)
_PLANES = ("axial", "coronal", "sagittal", _UNKNOWN)


@dataclass(frozen=True)
class Decision:
    """The decision whether a series is taken, with its reason."""

    rule: str  # that took it, or that refused it; several are joined by "; "
    reason: Message  # why it is not taken; empty if it is


@dataclass(frozen=True)
class Rule:
    """One ``[[take]]``; what is None asks for nothing."""

    name: str
    weighting: list[str] | None = None
    plane: list[str] | None = None
    b_value: list[float] | None = None
    description: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None
    exclude_words: list[str] | None = None
    exclude_image_types: list[str] | None = None
    min_slices: int = 1

    def reason_against(self, series: Series) -> Message:
        """Return the first condition that a series does not meet, or an empty message."""
        return self._excluded(series) or self._not_met(series)

    def _excluded(self, series: Series) -> Message:
        """Return which of its image types, or which word of its name, excludes a series."""
        for value in series.image_types:
            if any(fnmatchcase(value, pattern) for pattern in self.exclude_image_types or ()):
                return message("(0008,0008) Image Type has {value}, which is excluded", value=value)
        described = repr(series.description)
        if self.exclude and self.exclude.search(series.description):
            return message(
                "description {description} matches {pattern}, which is excluded",
                description=described,
                pattern=repr(self.exclude.pattern),
            )
        if self.exclude_words and (word := found_in(series.description, self.exclude_words)):
            return message(
                "description {description} has the word {word}, which is excluded", description=described, word=word
            )
        return EMPTY

    def _not_met(self, series: Series) -> Message:
        weighting, plane = series.weighting or _UNKNOWN, series.plane or _UNKNOWN
        if self.weighting is not None and weighting not in self.weighting:
            return message("weighting is {found}, not {wanted}", found=term(weighting), wanted=_any_of(self.weighting))
        if self.plane is not None and plane not in self.plane:
            return message("plane is {found}, not {wanted}", found=term(plane), wanted=_any_of(self.plane))
        if self.b_value is not None:
            low, high = self.b_value
            if series.b_value is None or not low <= series.b_value <= high:
                found: Value = term("not known") if series.b_value is None else f"{series.b_value:g} s/mm2"
                return message("b-value is {found}, not {low} to {high}", found=found, low=f"{low:g}", high=f"{high:g}")
        described = repr(series.description)
        if self.description and not self.description.search(series.description):
            pattern = repr(self.description.pattern)
            return message("description {description} does not match {pattern}", description=described, pattern=pattern)
        if len(series.slices) < self.min_slices:
            return message("{count} slices are fewer than {least}", count=len(series.slices), least=self.min_slices)
        return EMPTY


def _any_of(names: list[str]) -> Message:
    return joined(map(term, names), message(" or "))


def read_rules(path: str | Path = SERIES_RULES) -> list[Rule]:
    """Read the rules of a file, in order.

    Raises:
        InputError: the file is missing or malformed; the message names the file and the key.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = message(
            "series rules {path} cannot be read: {error}; git checkout brings it back",
            path=str(path),
            error=str(error.strerror),
        )
        raise InputError(reason) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            message("series rules {path} are no TOML: {error}", path=str(path), error=str(error))
        ) from error
    where = message("series rules {path}", path=str(path))
    for key in content.keys() - {"take"}:
        raise _wrong(where, message("key {key} is not known; rules are [[take]]", key=repr(key)))
    tables = content.get("take")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise _wrong(where, message("no [[take]] stands in it, so that no series would be taken"))
    rules = [
        _rule(table, message("series rules {path}: [[take]] {number}", path=str(path), number=number))
        for number, table in enumerate(tables, start=1)
    ]
    if len({rule.name for rule in rules}) < len(rules):
        raise _wrong(where, message("two rules have one name"))
    return rules


def _wrong(where: Message, reason: Message) -> InputError:
    return InputError(message("{where}: {reason}", where=where, reason=reason))


def decide(series: Series, rules: list[Rule], only_series: str | None = None) -> Decision:
    """Return whether any of the rules takes a series.

    Args:
        series: in question.
        rules: of `read_rules`.
        only_series: a SeriesInstanceUID that is taken whatever the rules say, and nothing else.
    """
    if only_series is not None:
        asked_for = series.series_uid == only_series
        return Decision("--series", EMPTY if asked_for else message("another series was asked for"))
    against = {rule.name: rule.reason_against(series) for rule in rules}
    for name, reason in against.items():
        if not reason:
            return Decision(name, EMPTY)
    reasons = [message("rule {name}: {reason}", name=repr(name), reason=reason) for name, reason in against.items()]
    return Decision("; ".join(against), joined(reasons))


def _rule(table: dict, where: Message) -> Rule:
    """Return one rule after checking it."""
    for key in table.keys() - Rule.__dataclass_fields__.keys():
        known = ", ".join(Rule.__dataclass_fields__)
        raise _wrong(where, message("key {key} is not known; known are {known}", key=repr(key), known=known))
    name = table.get("name")
    if not isinstance(name, str) or not name.strip():
        raise _wrong(where, message("key 'name' is missing or empty"))
    return Rule(
        name=name,
        weighting=_some_of(_WEIGHTINGS, table, "weighting", where),
        plane=_some_of(_PLANES, table, "plane", where),
        description=_pattern(table, "description", where),
        exclude=_pattern(table, "exclude", where),
        exclude_words=_texts(table, "exclude_words", where, str.lower),
        exclude_image_types=_texts(table, "exclude_image_types", where, lambda text: text.upper().replace("_", " ")),
        b_value=_bounds(table, where),
        min_slices=_least_slices(table, where),
    )


def _some_of(allowed: tuple[str, ...], table: dict, key: str, where: Message) -> list[str] | None:
    if key not in table:
        return None
    value = table[key]
    if not isinstance(value, list) or not value or any(entry not in allowed for entry in value):
        names = ", ".join(allowed)
        reason = message("key {key} is {value}, not a list of {names}", key=repr(key), value=repr(value), names=names)
        raise _wrong(where, reason)
    return value


def _texts(table: dict, key: str, where: Message, form: Callable[[str], str]) -> list[str] | None:
    """Return the texts of a list, in the form in which they are compared."""
    if key not in table:
        return None
    value = table[key]
    if not isinstance(value, list) or not all(isinstance(entry, str) and entry.strip() for entry in value):
        raise _wrong(where, message("key {key} is {value}, not a list of texts", key=repr(key), value=repr(value)))
    return [form(entry.strip()) for entry in value]


def _bounds(table: dict, where: Message) -> list[float] | None:
    if "b_value" not in table:
        return None
    value = table["b_value"]
    if not isinstance(value, list) or len(value) != 2 or not all(map(_number, value)) or value[0] > value[1]:
        raise _wrong(where, message("key 'b_value' is {value}, not [lowest, highest]", value=repr(value)))
    return value


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _least_slices(table: dict, where: Message) -> int:
    value = table.get("min_slices", Rule.min_slices)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _wrong(where, message("key 'min_slices' is {value}, not a whole number of at least 1", value=repr(value)))
    return value


def _pattern(table: dict, key: str, where: Message) -> re.Pattern[str] | None:
    if key not in table:
        return None
    text = table[key]
    try:
        return re.compile(text, re.IGNORECASE)
    except (re.error, TypeError) as error:
        reason = message(
            "key {key} is {value}, no regular expression: {error}", key=repr(key), value=repr(text), error=str(error)
        )
        raise _wrong(where, reason) from error
