"""A text where a message is wanted does not pass mypy: no sentence can be written past the catalogues."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nbcad import errors
from repository import ROOT

ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.NbcadError)}
# Each line after the imports gives a text in the place of a message.
SOURCE = """
from pathlib import Path
from nbcad.annotation.files import LabelFile
from nbcad.annotation.image_index import LabelRefusedError
from nbcad.dicom import FileRecord, Series
from nbcad.dicom.header import Ignored
from nbcad.dicom.refusal import Refusal
from nbcad.dicom.rules import Decision
from nbcad.inference.study_stage import StudyStage
from nbcad.node.analysis_client import AnalysisFailed, Findings
from nbcad.node.jobs import Jobs
from nbcad.node.study import Study
from nbcad.language.message import joined, message
from nbcad.report.types import FileEntry, SeriesEntry
def wrong(record: FileRecord, series: Series, jobs: Jobs, study: Study, file: LabelFile) -> None:
    record.set_aside("refused", "text")
    FileRecord("path", "refused", "text")
    series.slices[0].set_aside("refused", "text")
    series.notes.append("text")
    series.stack = "text"
    file.reason = "text"
    Refusal("text")
    Ignored("text")
    LabelRefusedError("text")
    Decision("rule", "text")
    StudyStage("M", {}, ("text",))
    FileEntry("path", "refused", "text")
    SeriesEntry("uid", "", message("x"), "refused", "rule", "text", (), None, (), (), ())
    SeriesEntry("uid", "", "text", "refused", "rule", message("x"), (), None, (), (), ())
    SeriesEntry("uid", "", message("x"), "refused", "rule", message("x"), ("text",), None, (), (), ())
    jobs.set_aside(study, "text")
    jobs.put_back(study, "text")
    jobs.not_delivered(study, "text", 1.0)
    jobs.analysed(study, Path(), None, 0, [], "text")
    AnalysisFailed("text")
    Findings(None, 0, [], "text")
    joined(["text"])
    message("is {value}", value=0.1)
"""


def test_text_in_the_place_of_a_message_does_not_pass_mypy(tmp_path):
    pytest.importorskip("mypy")
    path = tmp_path / "wrong.py"
    path.write_text(SOURCE)
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    found = {int(line) for line in re.findall(r"^\S*wrong\.py:(\d+): error: ", done.stdout, re.MULTILINE)}
    lines = SOURCE.split("\n")
    first = next(number for number, line in enumerate(lines, start=1) if line.startswith("def ")) + 1
    expected = {number for number in range(first, len(lines) + 1) if lines[number - 1]}
    assert found == expected, done.stdout + done.stderr


def _errors_of(path: Path):
    """Return the arguments of all errors of the package that a module raises, a variable by what it was given."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    given = {ast.unparse(node.targets[0]): node.value for node in ast.walk(tree) if isinstance(node, ast.Assign)}
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ERRORS:
            yield from (ast.unparse(given.get(ast.unparse(argument), argument)) for argument in call.args)


@pytest.mark.parametrize("folder", ["dicom", "inference", "nets", "report"])
def test_error_that_the_node_s_pages_may_show_is_a_message(folder):
    """An analysis that fails so sets its study aside, with the error as the reason."""
    raised = [
        text
        for path in sorted((ROOT / "python/nbcad" / folder).glob("*.py"))
        if path.name != "web.py"  # of a command only
        for text in _errors_of(path)
    ]
    assert raised and [text for text in raised if not text.startswith(("message(", "verbatim(", "_unlike("))] == []
