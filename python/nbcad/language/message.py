"""Messages as data: a refusal, note or label, put into the reader's language only where it is shown.

A template is a text in English with a {name} for each value. It is also the msgid of the catalogues, into which
`make messages` takes it from each call of `message` and `counted`. Text from outside (a header's value, a path, a
library's error) is always a value and never a template, so nothing in it is ever filled in.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from string import Formatter
from typing import Any, Protocol


class Translations(Protocol):
    """A language's translations, with the methods of `gettext.NullTranslations` that rendering needs."""

    def gettext(self, text: str, /) -> str:
        """Return the translation of a text."""

    def ngettext(self, one: str, many: str, count: int, /) -> str:
        """Return the translation of a text that has a plural."""


class Message(ABC):
    """Something to tell a reader. ``str`` gives the text in English; an empty message is false.

    Messages are immutable, equal by template and values, and can be hashed, pickled and stored as JSON.
    """

    __slots__ = ()

    @abstractmethod
    def render(self, translations: Translations) -> str:
        """Return the text in a language."""

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """Return the message as JSON's types, for `to_text`."""

    def __str__(self) -> str:
        return self.render(_ENGLISH)


Value = str | int | Message


class _English:
    """The language of the templates."""

    def gettext(self, text: str, /) -> str:
        return text

    def ngettext(self, one: str, many: str, count: int, /) -> str:
        return one if count == 1 else many


_ENGLISH = _English()


@dataclass(frozen=True, slots=True)
class _Sentence(Message):
    """A template with its values."""

    template: str
    values: tuple[tuple[str, Value], ...]  # sorted by name

    def render(self, translations: Translations) -> str:
        return _filled(translations.gettext(self.template), self.values, translations)

    def as_json(self) -> dict[str, Any]:
        return {"template": self.template, "values": _values_as_json(self.values)}


@dataclass(frozen=True, slots=True)
class _Counted(Message):
    """A template for one thing and a template for several, with their values."""

    one: str
    many: str
    count: int
    values: tuple[tuple[str, Value], ...]  # sorted by name

    def render(self, translations: Translations) -> str:
        return _filled(translations.ngettext(self.one, self.many, self.count), self.values, translations)

    def as_json(self) -> dict[str, Any]:
        templates = {"one": self.one, "many": self.many, "count": self.count}
        return templates | {"values": _values_as_json(self.values)}


@dataclass(frozen=True, slots=True)
class _Joined(Message):
    """Messages with a separator between them."""

    separator: Message
    parts: tuple[Message, ...]

    def render(self, translations: Translations) -> str:
        return self.separator.render(translations).join([part.render(translations) for part in self.parts])

    def as_json(self) -> dict[str, Any]:
        return {"separator": self.separator.as_json(), "parts": [part.as_json() for part in self.parts]}

    def __bool__(self) -> bool:
        return bool(self.parts)


def message(template: str, /, **values: Value) -> Message:
    """Return a message.

    Args:
        template: English, a literal, so that `make messages` finds it.
        values: one for each {name} of the template. Numbers that are not whole come as text, with the digits to show.
    """
    return _sentence(template, values)


def counted(one: str, many: str, /, count: int, **values: Value) -> Message:
    """Return a message that has a plural.

    Args:
        one: template where ``count`` is 1, a literal.
        many: template for other counts.
        count: what decides; it is also the value {count}, if the templates have one.
        values: see `message`.
    """
    return _counted(one, many, count, values | {"count": count} if "count" in _names(one) else values)


def joined(messages: Iterable[Message], separator: Message | None = None) -> Message:
    """Return messages as one, with a separator between them; by default a semicolon. Without messages it is empty."""
    parts = tuple(messages)
    return parts[0] if len(parts) == 1 else _Joined(separator or message("; "), parts)


def verbatim(text: str) -> Message:
    """Return text from outside, which is the same in every language; an empty message if there is none."""
    return _Sentence("{text}", (("text", text),)) if text else EMPTY


def to_text(of: Message) -> str:
    """Return a message as JSON, to be stored; an empty one as an empty text."""
    return json.dumps(of.as_json()) if of else ""


def from_text(text: str) -> Message:
    """Return the message that `to_text` stored.

    Raises:
        ValueError, LookupError: it stored none.
    """
    return _from_json(json.loads(text)) if text else EMPTY


def _from_json(data: Mapping[str, Any]) -> Message:
    """Return the message that `Message.as_json` describes.

    Raises:
        LookupError: it describes none.
    """
    if "parts" in data:
        return _Joined(_from_json(data["separator"]), tuple(map(_from_json, data["parts"])))
    values = {name: _from_json(value) if isinstance(value, dict) else value for name, value in data["values"].items()}
    if "template" in data:
        return _sentence(data["template"], values)
    return _counted(data["one"], data["many"], data["count"], values)


def _sentence(template: str, values: dict[str, Value]) -> Message:
    assert _names(template) == values.keys(), template
    return _Sentence(template, tuple(sorted(values.items())))


def _counted(one: str, many: str, count: int, values: dict[str, Value]) -> Message:
    assert _names(one) == _names(many) == values.keys(), one
    return _Counted(one, many, count, tuple(sorted(values.items())))


@lru_cache(maxsize=1024)
def _names(template: str) -> frozenset[str]:
    """Return the names of a template's values."""
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name is not None)


def _filled(template: str, values: tuple[tuple[str, Value], ...], translations: Translations) -> str:
    """Return a template with its values in their places."""
    shown = {name: value.render(translations) if isinstance(value, Message) else value for name, value in values}
    return template.format_map(shown)


def _values_as_json(values: tuple[tuple[str, Value], ...]) -> dict[str, Any]:
    return {name: value.as_json() if isinstance(value, Message) else value for name, value in values}


EMPTY: Message = _Joined(_Sentence("; ", ()), ())
