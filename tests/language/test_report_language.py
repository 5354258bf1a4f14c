"""No text of a page is left in English when the page is in another language."""

import ast
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from html_page import Page
from make_analysis import analysis, lesion, pages_of, patient_of
from nbcad.dicom import FileRecord
from nbcad.dicom.images import MARKS
from nbcad.inference.study_stage import StudyStage
from nbcad.language import LANGUAGES
from nbcad.language.sentences import LABELS, PARTS, SENTENCES, WORDS
from nbcad.report import Language
from nbcad.report.types import FileEntry
from repository import ROOT

CODE = ROOT / "python/nbcad"
WRITERS = [
    *(path for path in sorted((CODE / "dicom").glob("*.py")) if path.name != "web.py"),  # a command's errors
    *(CODE / f"{name}.py" for name in ("infer", "inference/stage", "inference/study_stage", "report/dicom")),
    *(CODE / f"{name}.py" for name in ("report/entries", "report/objects")),
    *(CODE / f"node/{name}.py" for name in ("jobs", "analysis_server", "analysis_client", "sender")),
]
# Functions that return reasons or notes.
RETURNING = ("reason_against", "_alone", "why_not", "_write_series", "_how_ended", "_why_nothing")
COMPOSED = ("frame {", "frames {")  # put together of parts, see `test_every_frame_s_fate_is_translated`
# What Chinese readers of DICOM know in no other way: names of elements, of software, keys and units.
_NAMES = """
    a b c d h l n p r s w A B I L P R S M mm ms x L1 L2 MS INSS T1 T2 MR SR VR UID GiB
    DICOM DICOMDIR ASCII F O PS3 PS3.3 PS3.10 RLE JPEG JavaScript zip deflate float32 nbcad Caffe Python cpu
    PageUp PageDown Home End Shift Ctrl Tab Esc A.4 YES MOSAIC MONOCHROME1 MONOCHROME2 Enhanced Image Storage
"""
NAMES = set(_NAMES.split())
_ELEMENT = re.compile(r"\([0-9A-F]{4},[0-9A-F]{4}\) [A-Z][A-Za-z-]+( (?:[A-Z][A-Za-z-]*|of|per|\(Patient\)))*")


def _latin(text: str) -> set[str]:
    """Words in Latin letters that are neither names nor, after its tag, an element's."""
    return set(re.findall(r"[A-Za-z][A-Za-z0-9.]*[A-Za-z0-9]|[A-Za-z]", _ELEMENT.sub("", text))) - NAMES


@pytest.fixture(scope="module")
def extracted() -> set:
    """What `make messages` finds in the sources."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        mappings = tomllib.load(file)["tool"]["babel"]["mappings"]
    methods = [(mapping["pattern"], mapping["method"]) for mapping in mappings]
    options = {mapping["pattern"]: mapping for mapping in mappings}
    found = extract_from_dir(CODE, methods, options)
    return {message for _, _, message, _, _ in found}


def _catalogue(language: str):
    path = CODE / f"language/locale/{language}/LC_MESSAGES/nbcad.po"
    with path.open("rb") as file:
        return [message for message in read_po(file, locale=language, abort_invalid=True) if message.id]


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_catalogue_holds_each_text_of_the_sources_and_no_other(language, extracted):
    assert {message.id for message in _catalogue(language)} == extracted, (
        "run `make messages` and translate what is new"
    )
    assert len(extracted) > 150


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_each_text_is_translated_with_the_same_values(language):
    for message in _catalogue(language):
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        strings = message.string if isinstance(message.string, tuple) else (message.string,)
        assert all(strings) and not message.fuzzy, message.id
        for text in strings:
            assert _values(text) == _values(ids[0]), message.id


def _values(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)s|\{\w+\}", text))


def test_no_chinese_text_has_english_words_but_names():
    for message in _catalogue("zh"):
        for text in message.string if isinstance(message.string, tuple) else (message.string,):
            text = re.sub(r"%\(\w+\)s|\{\w+\}", "", text)
            assert _latin(text) == set(), text


def _literals(tree: ast.AST):
    """Each text of a module, 7 standing for what is put in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node, "".join(part.value if isinstance(part, ast.Constant) else "7" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node, node.value


def _listed(node: ast.AST):
    """What stands in a tuple or list, or in one within it; anything else is itself."""
    for part in node.elts if isinstance(node, ast.Tuple | ast.List) else []:
        yield from _listed(part)
    yield node


def _reasons(path: Path):
    """The texts of a module that become reasons or notes of a report."""
    tree = ast.parse(path.read_text())
    texts = {id(node): text for node, text in _literals(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            places = {"Refusal": [0], "Ignored": [0], "set_aside": [1], "FileRecord": [2], "append": [0]}
            places["AnalysisFailed"] = [0]
            about = ast.unparse(node.func)
            if name != "append" or "notes" in about:
                yield from (texts.get(id(node.args[n])) for n in places.get(name, []) if len(node.args) > n)
            if name == "AgeRule":
                yield from (texts.get(id(argument)) for argument in node.args[3:])
            yield from (texts.get(id(word.value)) for word in node.keywords if word.arg in ("reason", "refusal"))
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("note", "notes", "reason"):
            yield from (texts.get(id(part)) for part in ast.walk(node.value) if isinstance(part, ast.JoinedStr))
            yield from (texts.get(id(part)) for part in _listed(node.value))
        elif isinstance(node, ast.Assign) and path.parent == CODE:
            yield from (text for text in [texts.get(id(node.value))] if text and text.endswith("."))
        elif isinstance(node, ast.Dict):
            noted = [value for key, value in zip(node.keys, node.values, strict=True) if texts.get(id(key)) == "notes"]
            yield from (texts.get(id(part)) for value in noted for part in _listed(value))
        elif isinstance(node, ast.FunctionDef) and node.name in RETURNING:
            returned = [part.value for part in ast.walk(node) if isinstance(part, ast.Return)]
            yield from (texts.get(id(part)) for value in returned for part in _listed(value))


def test_each_reason_and_note_that_the_sources_write_is_known():
    written = {text for path in WRITERS for text in _reasons(path) if text and re.search("[a-z]{3}", text)}
    assert len(written) > 55
    language = Language("zh")
    assert {text for text in written if language.sentence(text) == text} == set()


def test_no_sentence_is_kept_that_the_sources_do_not_write():
    written = [text for path in WRITERS for _, text in _literals(ast.parse(path.read_text()))]
    for sentence in SENTENCES:
        pattern = re.sub(r"\\\{\w+\\\}", ".+", re.escape(sentence))
        assert sentence.startswith(COMPOSED) or any(re.fullmatch(pattern, text) for text in written), sentence


def test_every_frame_s_fate_is_translated():
    record = FileRecord("x")
    record.frames = 6
    record.set_aside(
        "refused", "(0028,0030) Pixel Spacing is missing or not positive; nothing can be measured without it", 0
    )
    record.set_aside("refused", "(0028,1053) Rescale Slope 3 makes all pixels equal", 2)
    record.set_aside("refused", "(0028,1053) Rescale Slope 3 makes all pixels equal", 3)
    record.set_aside(
        "ignored", "rule '1': weighting is T1, not T2 or unknown; rule '2': plane is sagittal, not axial", 5
    )
    assert Language("zh").sentence(record.reason) == (
        "帧 0 被拒绝：(0028,0030) Pixel Spacing 缺失或非正值；缺之则无法测量；"
        "帧 2-3 被拒绝：(0028,1053) Rescale Slope 3 使全部像素相等；"
        "帧 5 被忽略：规则 '1'：加权为 T1，而非 T2 或 未知；规则 '2'：平面为 矢状位，而非 轴位"
    )
    assert Language("en").sentence(record.reason) == record.reason


def test_what_another_wrote_is_not_touched():
    language = Language("zh")
    for text in ("header cannot be read", "", "a; b", "Or: to axial {count} %(count)s"):
        assert language.sentence(text) == text
    assert language.sentence("header cannot be read: no; idea {x}") == "文件头无法读取：no; idea {x}"
    long = "(0008,0060) Modality is " + "a is b, not " * 10_000
    assert language.sentence(long) == long  # at once
    assert language.label("kidney") == "kidney" and language.label("thorax") == "胸腔"
    assert (
        language.sentence("(0008,0060) Modality is axial or cat, not MR")
        == "(0008,0060) Modality 为 axial or cat，而非 MR"
    )


def test_each_label_and_each_part_of_a_stack_s_name_is_translated():
    labels = [
        line
        for name in ("organ", "stage", "stage_inss")
        for line in (ROOT / f"config/labels/{name}.txt").read_text().split()
    ]
    assert {*labels, "other"} <= set(LABELS)
    language = Language("zh")
    facts = "axial, no position, 3 rows, 4 columns, 1 x 2 mm a pixel, no b-value, no echo time, echo 80 ms"
    parts = ["part 1 of 2", "stack 1 of 2", "image 2 of each place"]
    marks = [f"{mark} {value}" for mark in MARKS for value in (7, "not given")]
    name = ", ".join([facts, *parts, *marks])
    assert _latin(language.stack(name)) == set()
    assert language.stack("b 800 s/mm2, part 1 of 2") == "b 800 s/mm2, 第 1 部分，共 2 部分"
    assert Language("en").stack(name) == name
    assert all(text for texts in (PARTS, SENTENCES, WORDS) for text in texts)


def _texts(page: Page) -> list[str]:
    """Everything of a page that is read or heard."""
    heard = ("alt", "title", "aria-label", "aria-roledescription")
    spoken = [value for _, attributes in page.elements for name, value in attributes.items() if name in heard]
    texts = [text for text in json.loads(page.scripts.get("viewer-texts", "{}")).values()]
    return [
        *page.words,
        *spoken,
        *(re.sub(r"\{\w+\}", "", text) for text in texts),
        *re.findall(r"@bottom-center \{ content: (.*);", page.style),
    ]


def _patients(count: int) -> list:
    """All that a page can show, with nothing of its own in Latin letters."""
    facts = {"patient_id": "", "description": "序列", "age_months": None, "stack": "part 1 of 2"}
    full = analysis([lesion({n: (2, 2, 6, 6)}) for n in range(15)], count=15, **facts)
    full.organs = ["adrenal", "retroperitoneum", "thorax", "other", "other"] * 3
    full.series.notes = [
        "2 of its 15 images cannot be read",
        "In the DICOM objects (0010,0040) Patient Sex is not copied: it is none of M, F, O.",
    ]
    bare = analysis([lesion({1: (2, 2, 6, 6)})], axes=None, **facts)
    empty = analysis([], **facts | {"age_months": 1})
    normal = StudyStage("normal", {"normal": 1.0}, ("No series of this study could be analysed.",))
    none = StudyStage(None, {}, ("The stage is suggested by the images alone.",))
    patients = [
        patient_of(full, bare, number=1, patients=count),
        patient_of(empty, number=2, patients=count, stage=normal),
        patient_of(empty, number=3, patients=count, stage=none),
    ][:count]
    if not patients:
        return []
    (study,) = patients[0].studies
    reason = "another series was asked for"
    left_out = replace(study.series[0], status="refused", reason=reason, lesions=(), slices=())
    patients[0].studies = (replace(study, series=(*study.series, left_out)),)
    patients[0].analyses[0].append(None)
    return patients


_FILES = [
    FileEntry("/1", "refused", "(0008,0060) Modality is 1, not MR"),
    FileEntry("/2", "refused", "(0008,0060) Modality is 1, not MR"),
    FileEntry("/3", "ignored", "not a DICOM file (PS3.10)"),
    FileEntry("/4", "used", "frame 1 refused: (0028,1053) Rescale Slope 3 makes all pixels equal"),
]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_nothing_of_a_chinese_page_is_left_in_english(tmp_path, count):
    report = pages_of(tmp_path, *_patients(count), language="zh", files=_FILES)
    for path in (report, *sorted((tmp_path / "patients").glob("*.html"))):
        page = Page(path.read_text(encoding="utf-8"))
        left = {word for text in _texts(page) for word in _latin(text)}
        assert left == set()
        assert len(page.text) > 100


def test_an_english_page_has_no_chinese(tmp_path):
    page = Page(pages_of(tmp_path, patient_of(analysis([lesion({1: (2, 2, 6, 6)})])), files=_FILES).read_text())
    assert not re.search("[\u3000-\u9fff\uff00-\uffef]", page.text + "".join(_texts(page)))


def test_word_finder_finds_words():
    assert _latin("这是 a word，(0020,0032) Image Position (Patient) 为 3 mm") == {"word"}
