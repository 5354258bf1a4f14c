"""JSON files of dataclasses: what is written, and what is not taken when it is read back."""

import json
from dataclasses import dataclass, field
from typing import Literal

import pytest

from nbcad.errors import InputError
from nbcad.runtime.json_file import ABSENT, read_json, write_json


@dataclass(frozen=True)
class _Part:
    name: Literal["a", "b"]
    share: float | None


@dataclass(frozen=True)
class _Whole:
    parts: tuple[_Part, ...]
    place: tuple[float, float]
    counts: dict[str, int]
    extra: str | None = field(default=None, metadata=ABSENT)


WHOLE = _Whole((_Part("a", 0.5), _Part("b", None)), (1.0, 2.5), {"x": 1})
TEXT = """{
  "parts": [
    {
      "name": "a",
      "share": 0.5
    },
    {
      "name": "b",
      "share": null
    }
  ],
  "place": [
    1.0,
    2.5
  ],
  "counts": {
    "x": 1
  }
}
"""


def test_json_reads_back_and_what_json_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.json"
    write_json({"a": [1, None, "ä"]}, path)
    with pytest.raises(ValueError):
        write_json({"a": float("nan")}, path)
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert json.loads(path.read_text()) == {"a": [1, None, "ä"]}
    assert list(tmp_path.iterdir()) == [path]


def test_dataclasses_are_written_in_order_of_fields_and_read_back(tmp_path):
    path = tmp_path / "whole.json"
    write_json(WHOLE, path)
    assert path.read_text() == TEXT
    assert read_json(path, _Whole, InputError) == WHOLE


def test_field_that_may_be_absent_is_written_where_it_is_known(tmp_path):
    path = tmp_path / "whole.json"
    known = _Whole((), (0.0, 0.0), {}, "more")
    write_json(known, path)
    assert json.loads(path.read_text())["extra"] == "more"
    assert read_json(path, _Whole, InputError) == known


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"share": 0.5', '"share": "much"', r"parts\[0\]\.share is 'much', not of type float"),
        ('"share": 0.5', '"share": true', r"parts\[0\]\.share is True, not of type float"),
        ('"name": "b"', '"name": "c"', r"parts\[1\]\.name is 'c', not 'a' or 'b'"),
        ('"x": 1', '"x": 1.5', r"counts\.x is 1\.5, not of type int"),
        ('"x": 1', '"x": null', r"counts\.x is None, not of type int"),
        ('    1.0,\n', '', r"place has 1 items, not 2"),
        ('"place"', '"where"', r"where is not known"),
        (',\n      "share": 0.5', '', r"parts\[0\]\.share is missing"),
        (TEXT, "[]", r"the file is \[\], not of type dict"),
        (TEXT, "{", r"Expecting property name"),
    ],
)  # fmt: skip
def test_file_that_is_not_as_it_was_written_is_refused_with_its_key(tmp_path, old, new, words):
    path = tmp_path / "whole.json"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(InputError, match=rf"whole\.json cannot be read: {words}.*; write it again"):
        read_json(path, _Whole, InputError, "write it again")


def test_whole_numbers_are_read_where_a_number_is_meant(tmp_path):
    path = tmp_path / "whole.json"
    path.write_text(TEXT.replace("1.0", "1"))
    assert read_json(path, _Whole, InputError) == WHOLE


def test_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(InputError, match=r"none\.json cannot be read: .*No such file"):
        read_json(tmp_path / "none.json", _Whole, InputError)
