"""What the docs name is there: links, anchors, files, commands and their options; both READMEs say the same."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

import nbcad
from repository import ROOT

GENERATED = (".venv", "runs", "build")
PAGES = [path for path in sorted(ROOT.rglob("*.md")) if path.relative_to(ROOT).parts[0] not in GENERATED]
READMES = ROOT / "README.md", ROOT / "README.zh.md"
MOST_WORDS = 700  # of a README: one screen
LARGEST_PICTURE = 300_000  # bytes
SOURCES = ("caffe", "config", "docs", "image", "models", "python", "solvers", "tests", "tools")  # folders
LINK = r"\]\(([^)\s]+)\)"
_CODE = re.compile(r"`([^`\n]+)`")
_BLOCK = re.compile(r"^ {4,}(?=\S)(.*)$", re.MULTILINE)
_SOURCE_FILE = re.compile(r"[\w.-]+\.(?:py|toml|prototxt|sql|sh|txt|md|hpp|cpp|cu|j2|cff)")
_PLACEHOLDER = re.compile(r"[{}*]|\b[A-Z]{4}\b")  # several files at once, or NAME

each_page = pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])


def _anchors(page: Path) -> set[str]:
    """Return what each heading is linked by: lower case, without punctuation, blanks as hyphens."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _block_lines(text: str) -> list[str]:
    """Return the lines of code blocks without their comments."""
    return [re.split(r"\s#\s", line)[0].rstrip() for line in _BLOCK.findall(text)]


def _commands(page: Path) -> list[str]:
    """Return everything in code blocks, without comments, and between backticks."""
    text = page.read_text(encoding="utf-8")
    return [*_block_lines(text.replace("\\\n", " ")), *_CODE.findall(_BLOCK.sub("", text))]


@each_page
def test_every_relative_link_leads_somewhere(page):
    for link in re.findall(LINK, page.read_text(encoding="utf-8")):
        if re.match(r"https?://", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert not anchor or anchor in _anchors(path), link


@cache
def _file_names() -> set[str]:
    below = (path for folder in SOURCES for path in (ROOT / folder).rglob("*"))
    return {path.name for path in (*below, *ROOT.iterdir()) if path.is_file()}


@each_page
def test_every_source_file_that_is_named_exists(page):
    if page.name == "CHANGELOG.md":  # names what was
        return
    for word in re.findall(r"[\w./{},*-]+", "\n".join(_commands(page))):
        word = word.rstrip(".,")
        if _PLACEHOLDER.search(word) or word.startswith("python/caffe"):  # the latter is in Caffe's own tree
            continue
        if "/" in word and word.split("/")[0] in SOURCES:
            assert (ROOT / word).exists() or (page.parent / word).exists(), word
        elif _SOURCE_FILE.fullmatch(word) and page.parent.name != "caffe":
            assert word in _file_names(), word


@cache
def _options(step: str) -> set[str]:
    command = [sys.executable, ROOT / f"tools/{step}.py", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return set(re.findall(r"--[a-z][a-z0-9-]*", text))


@each_page
def test_every_option_of_a_step_is_one(page):
    steps = r"(?:tools/([a-z]\w*)\.py|(?<![\w./-])(?:\.venv/bin/)?nbcad ([a-z][a-z-]+))([^|&;\n]*)"
    for tool, step, rest in re.findall(steps, "\n".join(_commands(page))):
        name = tool or step.replace("-", "_")
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", rest))
        assert named <= _options(name), f"{name} has no {', '.join(sorted(named - _options(name)))}"


@cache
def _makefile() -> str:
    return "".join((ROOT / name).read_text() for name in ("Makefile", "setup.mk"))


@each_page
def test_every_target_and_variable_of_make_is_one(page):
    targets = {
        word for line in re.findall(r"^([a-z][a-z -]*):(?!=)", _makefile(), re.MULTILINE) for word in line.split()
    }
    variables = {*re.findall(r"^(?:export )?([A-Z_]+) \?=", _makefile(), re.MULTILINE), "SPPIN", "CAFFE_SRC"}
    for words in re.findall(r"(?<![\w./`-])make((?: +[\w./:=-]+)+)", "\n".join(_commands(page))):
        for word in words.split():
            name, is_variable, _ = word.partition("=")
            assert word == "..." or name in (variables if is_variable else targets), f"make {word}"


def test_a_picture_of_the_docs_is_small():
    for path in (ROOT / "docs").rglob("*.png"):
        assert path.stat().st_size <= LARGEST_PICTURE, path


@pytest.mark.parametrize("page", READMES, ids=["en", "zh"])
def test_readme_is_one_screen(page):
    # Two Chinese characters count as a word.
    words = re.findall(r"[\u4e00-\u9fff]{1,2}|[^\s\u4e00-\u9fff]+", page.read_text(encoding="utf-8"))
    assert len(words) <= MOST_WORDS


def test_both_readmes_have_the_same_figures_links_and_commands():
    english, chinese = (re.sub(r"README(\.zh)?\.md", "", page.read_text(encoding="utf-8")) for page in READMES)
    for what, pattern in {
        "figures": r"\d+(?:[.,]\d+)*",
        "links": LINK,
        "names": r"`[^`\s]+`",
        "sections": r"^#+(?= )",
    }.items():
        found, other = (re.findall(pattern, text, re.MULTILINE) for text in (english, chinese))
        assert sorted(found) == sorted(other) and found, what
    assert _block_lines(english) == _block_lines(chinese)


def test_citation_and_changelog_name_the_version():
    citation = (ROOT / "CITATION.cff").read_text()
    newest = re.findall(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [newest] == [nbcad.__version__]
    assert re.findall(r"doi: (.*)$", citation, re.MULTILINE)[0] in READMES[0].read_text(encoding="utf-8")


def _glossary() -> dict[str, list[str]]:
    """Return the Chinese terms, any of which will do, by the English one; longer ones first."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("### Chinese terms")[2]
    cells = [cell.strip() for row in re.findall(r"^\|(.*)\|$", text, re.MULTILINE)[2:] for cell in row.split("|")]
    terms = {}
    for english, chinese in zip(cells[0::5] + cells[3::5], cells[1::5] + cells[4::5], strict=True):
        names = re.sub(r" \(.*\)", "", english).split(", ")
        parts = chinese.split("、") if "、" in chinese else [chinese] * len(names)
        terms |= {name: part.split(" / ") for name, part in zip(names, parts, strict=True) if name}
    return dict(sorted(terms.items(), key=lambda item: -len(item[0])))


def test_chinese_texts_use_the_glossary_s_terms():
    catalogue = ROOT / "python/nbcad/language/locale/zh/LC_MESSAGES/nbcad.po"
    glossary, used = _glossary(), set()
    with catalogue.open("rb") as file:
        messages = [(message.id, message.string) for message in read_po(file, locale="zh") if message.id]
    for text, translated in messages:
        english, chinese = (one if isinstance(one, str) else one[0] for one in (text, translated))
        english = re.sub(r"\{\w+\}|%\(\w+\)s|`[^`]*`|\([\dA-F]{4},[\dA-F]{4}\)( [A-Z(][\w()-]+)*", "", english)
        for name, allowed in glossary.items():
            word = re.compile(rf"(?<![\w-]){name}(?:s|es)?(?![\w-])", re.IGNORECASE)
            if word.search(english):
                assert any(term in chinese for term in allowed), (name, english, chinese)
                english = word.sub("", english)
                used.add(name)
    assert len(used) > 20
