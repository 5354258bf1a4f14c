"""Messages are data: their values are never read as templates, and they are the same wherever they are sent."""

import pickle
from dataclasses import FrozenInstanceError

import pytest

from nbcad.language.catalogue import Language
from nbcad.language.message import EMPTY, counted, from_text, joined, message, to_text, verbatim
from nbcad.language.terms import term

HOSTILE = "{path} {0} {value.__class__} %(path)s %s \\ \"quoted\" 'it' <script>alert(1)</script> \udcff \u202e\n" * 50


def _all_kinds() -> list:
    plain = message("its analysis was ended by {name}", name=HOSTILE)
    frames = [
        counted(
            "frame {numbers} refused: {reason}",
            "frames {numbers} refused: {reason}",
            count=count,
            numbers=numbers,
            reason=plain,
        )
        for count, numbers in ((1, "3"), (2, "5-6"))
    ]
    either = joined(map(term, ("T2", "axial", "kidney")), message(" or "))
    nested = message("plane is {found}, not {wanted}", found=term("unknown"), wanted=either)
    return [plain, *frames, nested, joined([*frames, nested]), verbatim(HOSTILE), EMPTY]


@pytest.mark.parametrize("said", _all_kinds())
def test_message_is_the_same_after_pickling_and_storing(said):
    for copy in (pickle.loads(pickle.dumps(said)), from_text(to_text(said))):
        assert copy == said and hash(copy) == hash(said) and bool(copy) == bool(said)
        assert str(copy) == str(said) and Language("zh").render(copy) == Language("zh").render(said)
    assert to_text(said).isascii()  # so that SQLite can hold what a file's name holds


def test_text_is_english_and_is_rendered_in_another_language():
    plain, one, several, nested, both, foreign, empty = map(str, _all_kinds())
    assert plain == f"its analysis was ended by {HOSTILE}" and foreign == HOSTILE and empty == ""
    assert one == f"frame 3 refused: {plain}" and several == f"frames 5-6 refused: {plain}"
    assert nested == "plane is unknown, not T2 or axial or kidney" and both == f"{one}; {several}; {nested}"
    plain, one, several, nested, both, foreign, empty = map(Language("zh").render, _all_kinds())
    assert plain == f"分析进程因 {HOSTILE} 终止" and foreign == HOSTILE and empty == ""
    assert one == f"帧 3 被拒绝：{plain}" and several == f"帧 5-6 被拒绝：{plain}"
    assert nested == "平面为 未知，而非 T2 或 轴位 或 kidney" and both == f"{one}；{several}；{nested}"


def test_messages_are_equal_by_template_and_values():
    first = message("{archive} cannot be reached", archive="A")
    assert first == message("{archive} cannot be reached", archive="A")
    assert first != message("{archive} cannot be reached", archive="B")
    assert first != message("{archive} refuses the association", archive="A")
    assert message("{a}{b}", a=1, b=2) == message("{a}{b}", b=2, a=1)
    assert len(set(_all_kinds() + _all_kinds())) == len(_all_kinds())


def test_message_cannot_be_changed():
    for said in _all_kinds():
        with pytest.raises(FrozenInstanceError):
            setattr(said, next(iter(said.__slots__)), "other")
        with pytest.raises((AttributeError, TypeError)):
            said.further = 1


@pytest.mark.parametrize("values", [{}, {"file": "x"}, {"path": "x", "file": "x"}])
def test_message_has_exactly_the_values_that_its_template_names(values):
    with pytest.raises(AssertionError):
        message("stands in the database as {path}", **values)
    with pytest.raises(AssertionError):
        counted("one {path}", "many {path}", count=2, **values)


def test_count_is_put_in_where_the_templates_have_it():
    assert [str(counted("{count} slice", "{count} slices", count=count)) for count in (0, 1, 2)] == [
        "0 slices",
        "1 slice",
        "2 slices",
    ]


def test_list_of_one_message_is_that_message():
    said = message("the association ended")
    assert joined([said]) == said and joined([]) == EMPTY and not joined([]) and joined([said, said])
