"""JSON files of dataclasses: written with the fields in their order, and read back strictly.

A field whose key is a word of Python's ends in an underscore, which is not written: ``from_`` is the key "from".
"""

import json
import types
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from nbcad.errors import NbcadError
from nbcad.language.message import Message, message, verbatim
from nbcad.runtime.files import replacing_file

_T = TypeVar("_T")
# Metadata of a field that is not written where it is None, and need not be in a file.
ABSENT = {"absent": True}


class _Malformed(Exception):
    """A value in a file that should not be there; the text says which and where."""


def write_json(content: object, path: Path) -> None:
    """Write dataclasses, lists, dictionaries, and messages in English; refuse NaN and infinity, as JSON has neither."""
    with replacing_file(path) as temporary, temporary.open("w") as file:
        # Piece by piece: the text is never whole in memory.
        json.dump(content, file, indent=2, allow_nan=False, default=_members)
        file.write("\n")


def as_json(content: Any) -> Any:
    """Return the dictionaries and lists that `write_json` writes."""
    if is_dataclass(content):
        content = _members(content)
    if isinstance(content, dict):
        return {key: as_json(value) for key, value in content.items()}
    return [as_json(value) for value in content] if isinstance(content, list | tuple) else content


def read_json(path: Path, kind: type[_T], error: type[NbcadError], remedy: str | Message = "", schema: str = "") -> _T:
    """Return the dataclass that `write_json` wrote to a file.

    Args:
        path: of the file.
        kind: the dataclass.
        error: raised where the file cannot be read.
        remedy: added to its message.
        schema: that the file must name, if any.

    Raises:
        error: the file is missing, is not JSON or names another schema; or one of its keys is missing, unknown or of
            another type. The message names the file and the key.
    """
    try:
        content = json.loads(path.read_text())
        if schema and not (isinstance(content, dict) and content.get("schema") == schema):
            raise error(
                _advised(message("{path} is not of the schema {schema}", path=str(path), schema=schema), remedy)
            )
        return _typed(content, kind, "")
    except (OSError, ValueError, _Malformed) as failure:
        raise error(
            _advised(message("{path} cannot be read: {error}", path=str(path), error=str(failure)), remedy)
        ) from failure


def _advised(reason: Message, remedy: str | Message) -> Message:
    return message("{reason}; {remedy}", reason=reason, remedy=remedy) if remedy else reason


def _members(content: object) -> dict[str, object] | str:
    """Return what is written of a dataclass or message."""
    if isinstance(content, Message):
        return str(content)
    if not is_dataclass(content):
        raise TypeError(f"{type(content).__name__} cannot be written as JSON")
    values = ((one, getattr(content, one.name)) for one in fields(content))
    return {_key(one.name): value for one, value in values if not (value is None and one.metadata == ABSENT)}


def _key(name: str) -> str:
    return name.removesuffix("_")


def _typed(value: Any, kind: Any, key: str) -> Any:
    """Return a value of a file as its type has it; ``key`` says where it is."""
    if kind is Any:
        return value
    if kind is Message:
        return verbatim(_of(str, value, key))
    if is_dataclass(kind):
        return _dataclass(value, kind, key)
    if get_origin(kind) in (Union, types.UnionType):
        return _one_of(value, get_args(kind), key)
    if get_origin(kind) is tuple:
        return tuple(_items(value, get_args(kind), key))
    if get_origin(kind) is dict:
        _, kind_of_value = get_args(kind)
        return {name: _typed(one, kind_of_value, _at(key, name)) for name, one in _of(dict, value, key).items()}
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise _Malformed(f"{key} is {value!r}, not {' or '.join(map(repr, get_args(kind)))}")
        return value
    if kind is float and type(value) is int:
        return float(value)
    return _of(kind, value, key)


def _dataclass(value: Any, kind: Any, key: str) -> Any:
    members, hints = _of(dict, value, key), _hints(kind)
    known = {_key(one.name): one for one in fields(kind)}
    for name in members.keys() - known.keys():
        raise _Malformed(f"{_at(key, name)} is not known")
    for name, one in known.items():
        if name not in members and one.default is MISSING:
            raise _Malformed(f"{_at(key, name)} is missing")
    return kind(**{known[n].name: _typed(one, hints[known[n].name], _at(key, n)) for n, one in members.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _one_of(value: Any, kinds: tuple[Any, ...], key: str) -> Any:
    """Return a value that may also be null."""
    (kind,) = (kind for kind in kinds if kind is not types.NoneType)
    return None if value is None else _typed(value, kind, key)


def _items(value: Any, kinds: tuple[Any, ...], key: str) -> Iterator[Any]:
    items = _of(list, value, key)
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(items)
    if len(items) != len(kinds):
        raise _Malformed(f"{key} has {len(items)} items, not {len(kinds)}")
    for number, (item, kind) in enumerate(zip(items, kinds, strict=True)):
        yield _typed(item, kind, f"{key}[{number}]")


def _of(kind: type[_T], value: Any, key: str) -> _T:
    if type(value) is not kind:
        raise _Malformed(f"{key or 'the file'} is {value!r:.40}, not of type {kind.__name__}")
    return value


def _at(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
