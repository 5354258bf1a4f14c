"""No text of a page is left in English when the page is in another language."""

import io
import json
import re
import time
from dataclasses import replace
from textwrap import dedent

import pytest
from babel.messages.frontend import CommandLineInterface
from babel.messages.pofile import read_po

from html_page import HOSTILE, Page
from make_analysis import analysis, lesion, pages_of, patient_of
from nbcad.dicom import FileRecord
from nbcad.dicom.age import Age
from nbcad.dicom.images import MARKS
from nbcad.inference.study_stage import StudyStage
from nbcad.language import LANGUAGES
from nbcad.language.extraction import extract
from nbcad.language.message import Message, joined, message
from nbcad.language.terms import TERMS
from nbcad.report import Language
from nbcad.report.types import FileEntry
from repository import ROOT

CODE = ROOT / "python/nbcad"
# What Chinese readers of DICOM know in no other way: names of elements, of software, keys and units.
_NAMES = """
    a b c d h l n p r s w A B I L P R S M mm mm2 ms x L1 L2 MS INSS T1 T2 MR SR VR UID GiB MB
    DICOM DICOMDIR ASCII F O PS3 PS3.3 PS3.10 RLE JPEG JavaScript zip deflate float32 nbcad Caffe Python cpu
    PageUp PageDown Home End Shift Ctrl Tab Esc A.4 YES MOSAIC MONOCHROME1 MONOCHROME2 Enhanced Image Storage
    Series Instance ROI CLOSED PLANAR SVM TOML take CUDA NVIDIA caffemodel prototxt Data Input TEST
"""
NAMES = set(_NAMES.split())
_ELEMENT = re.compile(r"\([0-9A-F]{4},[0-9A-F]{4}\) [A-Z][A-Za-z-]+( (?:[A-Z][A-Za-z-]*|of|per|\(Patient\)))*")
_COMMAND = re.compile(r"--[a-z]+|`[^`]*`|'[a-z_]+'|make [a-z-]+|git checkout|(?:tools|config)/[\w./]*")


def _latin(text: str) -> set[str]:
    """Words in Latin letters that are neither names nor, after its tag, an element's, nor of a command."""
    text = _COMMAND.sub("", _ELEMENT.sub("", text))
    return set(re.findall(r"[A-Za-z][A-Za-z0-9.]*[A-Za-z0-9]|[A-Za-z]", text)) - NAMES


@pytest.fixture(scope="module")
def extracted(tmp_path_factory) -> set:
    """What `make messages` finds in the sources."""
    template = tmp_path_factory.mktemp("messages") / "nbcad.pot"
    settings = ["-F", str(ROOT / "pyproject.toml"), "-o", str(template)]
    CommandLineInterface().run(["pybabel", "-q", "extract", *settings, str(CODE)])
    with template.open("rb") as file:
        return {entry.id for entry in read_po(file) if entry.id}


def _catalogue(language: str):
    path = CODE / f"language/locale/{language}/LC_MESSAGES/nbcad.po"
    with path.open("rb") as file:
        return [entry for entry in read_po(file, locale=language, abort_invalid=True) if entry.id]


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_catalogue_holds_each_text_of_the_sources_and_no_other(language, extracted):
    assert {entry.id for entry in _catalogue(language)} == extracted, "run `make messages` and translate what is new"
    assert len(extracted) > 150


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_each_text_is_translated_with_the_same_values(language):
    for entry in _catalogue(language):
        texts = entry.string if isinstance(entry.string, tuple) else (entry.string,)
        assert all(texts) and not entry.fuzzy, entry.id
        for text in texts:
            assert _values(text) == _values(entry.id[0] if isinstance(entry.id, tuple) else entry.id), entry.id


def _values(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)s|\{\w+\}", text))


def test_no_chinese_text_has_english_words_but_names():
    for entry in _catalogue("zh"):
        for text in entry.string if isinstance(entry.string, tuple) else (entry.string,):
            text = re.sub(r"%\(\w+\)s|\{\w+\}", "", text)
            assert _latin(text) == set(), text


def test_templates_are_found_in_each_other_s_arguments():
    source = """
        message("{reason}: none", reason=joined([counted("{n} frame", "{n} frames", count=2, n=1)], message("; ")))
        raise Refusal(
            message(
                "a long "
                "text"
            )
        )
        page.gettext("a text of a page"), page.gettext(text)
    """
    found = extract(io.BytesIO(dedent(source).encode()), ["message", "counted", "gettext"], [], {})
    assert {texts for _, _, texts, _ in found} == {
        ("{reason}: none",), ("{n} frame", "{n} frames"), ("; ",), ("a long text",), ("a text of a page",), (None,),
    }  # fmt: skip


@pytest.mark.parametrize(
    "call",
    ['message(f"is {value}")', "message(text)", 'message("a" + text)', "message()", 'counted("a", text, count=2)'],
)
def test_template_that_no_catalogue_can_hold_stops_the_extraction(call):
    with pytest.raises(SyntaxError, match="line 2"):
        list(extract(io.BytesIO(f"\nraise Refusal({call})".encode()), ["message", "counted"], [], {}))


def test_every_frame_s_fate_is_translated():
    record = FileRecord("x")
    record.frames = 6
    spacing = "(0028,0030) Pixel Spacing is missing or not positive; nothing can be measured without it"
    record.set_aside("refused", message(spacing), 0)
    for frame in (2, 3):
        record.set_aside(
            "refused", message("(0028,1053) Rescale Slope {value} makes all pixels equal", value="3"), frame
        )
    against = [
        message("rule {name}: {reason}", name=repr(name), reason=reason)
        for name, reason in (
            ("1", message("weighting is {found}, not {wanted}", found="T1", wanted=_any_of("T2", "unknown"))),
            ("2", message("plane is {found}, not {wanted}", found=TERMS["sagittal"], wanted=_any_of("axial"))),
        )
    ]
    record.set_aside("ignored", joined(against), 5)
    assert Language("zh").render(record.reason) == (
        "帧 0 被拒绝：(0028,0030) Pixel Spacing 缺失或非正值；缺之则无法测量；"
        "帧 2-3 被拒绝：(0028,1053) Rescale Slope 3 使全部像素相等；"
        "帧 5 被忽略：规则 '1'：加权为 T1，而非 T2 或 未知；规则 '2'：平面为 矢状位，而非 轴位"
    )
    assert Language("en").render(record.reason) == str(record.reason)


def _any_of(*names: str) -> Message:
    return joined([TERMS[name] for name in names], message(" or "))


def test_each_label_and_each_mark_of_a_stack_is_a_term():
    labels = [
        line
        for name in ("organ", "stage", "stage_inss")
        for line in (ROOT / f"config/labels/{name}.txt").read_text().split()
    ]
    assert {*labels, "other"} <= set(TERMS)
    language = Language("zh")
    for said in (*TERMS.values(), *MARKS.values()):
        assert _latin(language.render(said)) - {"2A", "2B", "4S", "DWI", "PD", "BOLD", "EPI"} == set()
    assert language.label("kidney") == "kidney" and language.label("thorax") == "胸腔"
    name = joined(
        [message("b {value} s/mm2", value="800"), message("part {number} of {count}", number=1, count=2)], _COMMA
    )
    assert language.render(name) == "b 800 s/mm2，第 1/2 部分" and str(name) == "b 800 s/mm2, part 1 of 2"


_COMMA = message(", ")


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
    facts = {
        "patient_id": "",
        "description": "序列",
        "age": None,
        "stack": message("part {number} of {count}", number=1, count=2),
    }
    full = analysis([lesion({n: (2, 2, 6, 6)}) for n in range(15)], count=15, **facts)
    full.organs = ["adrenal", "retroperitoneum", "thorax", "other", "other"] * 3
    sex = message("it is none of {names}", names="M, F, O")
    gap = message("{element} is not copied: {reason}", element="(0010,0040) Patient Sex", reason=sex)
    full.series.notes = [
        message("{bad} of its {count} images cannot be read", bad=2, count=15),
        message("In the DICOM objects {gap}.", gap=gap),
    ]
    bare = analysis([lesion({1: (2, 2, 6, 6)})], axes=None, **facts)
    empty = analysis([], **facts | {"age": Age.exactly(1)})
    normal = StudyStage("normal", {"normal": 1.0}, (message("No series of this study could be analysed."),))
    none = StudyStage(None, {}, (message("The stage is suggested by the images alone."),))
    patients = [
        patient_of(full, bare, number=1, patients=count),
        patient_of(empty, number=2, patients=count, stage=normal),
        patient_of(empty, number=3, patients=count, stage=none),
    ][:count]
    if not patients:
        return []
    (study,) = patients[0].studies
    reason = message("another series was asked for")
    left_out = replace(study.series[0], status="refused", reason=reason, lesions=(), slices=())
    patients[0].studies = (replace(study, series=(*study.series, left_out)),)
    patients[0].analyses[0].append(None)
    return patients


_NOT_MR = message("(0008,0060) Modality is {value}, not MR", value="1")
_FILES = [
    FileEntry("/1", "refused", _NOT_MR),
    FileEntry("/2", "refused", _NOT_MR),
    FileEntry("/3", "ignored", message("not a DICOM file (PS3.10)")),
    FileEntry("/4", "used", message("(0028,1053) Rescale Slope {value} makes all pixels equal", value="3")),
]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_nothing_of_a_chinese_page_is_left_in_english(tmp_path, count):
    report = pages_of(tmp_path, *_patients(count), language="zh", files=_FILES)
    for path in (report, *sorted((tmp_path / "patients").glob("*.html"))):
        page = Page(path.read_text(encoding="utf-8"))
        left = {word for text in _texts(page) for word in _latin(text)}
        assert left == set()
        assert len(page.text) > 100


_LONG = "{path} {value} {0} %(count)s \\N '1' \"2\" " + HOSTILE
_VALUES = [_LONG * 2_000, _LONG, "not MR; frame 1 refused: {reason}", "missing", "\udcff\u202e"]


@pytest.mark.parametrize("code", LANGUAGES)
def test_values_from_files_are_shown_as_they_are_and_run_nothing(tmp_path, code):
    files = [
        FileEntry(f"/{n}", "refused", message("(0008,0060) Modality is {value}, not MR", value=value))
        for n, value in enumerate(_VALUES)
    ]
    patient = patient_of(analysis([], description=_LONG, stack=message("{mark} {value}", mark="组", value=_LONG)))
    started = time.process_time()
    page = Page(pages_of(tmp_path, patient, language=code, files=files).read_text(encoding="utf-8"))
    assert time.process_time() - started < 10
    told = {"en": "(0008,0060) Modality is {}, not MR", "zh": "(0008,0060) Modality 为 {}，而非 MR"}[code]
    for value in _VALUES[:-1]:
        assert " ".join(told.replace("{}", value).split()) in page.text
    assert f"(组 {_LONG})" in page.text
    assert len(page.all("script")) == 4 and all(image["src"].startswith("data:") for image in page.all("img"))


def test_page_of_many_files_takes_time_in_proportion(tmp_path):
    """Each with a reason of its own, and several messages in it."""

    def seconds(count: int) -> float:
        files = [
            FileEntry(
                f"/in/{n}", "refused", joined([_NOT_MR, message("its analysis was ended by {name}", name=str(n))])
            )
            for n in range(count)
        ]
        patient = patient_of(analysis([]))
        started = time.process_time()
        pages_of(tmp_path, patient, language="zh", files=files)
        return time.process_time() - started

    seconds(100)  # fills the caches
    few, many = seconds(2_000), seconds(20_000)
    assert many < 20 * few and many < 10


def test_an_english_page_has_no_chinese(tmp_path):
    page = Page(pages_of(tmp_path, patient_of(analysis([lesion({1: (2, 2, 6, 6)})])), files=_FILES).read_text())
    assert not re.search("[\u3000-\u9fff\uff00-\uffef]", page.text + "".join(_texts(page)))


def test_word_finder_finds_words():
    assert _latin("这是 a word，(0020,0032) Image Position (Patient) 为 3 mm") == {"word"}
