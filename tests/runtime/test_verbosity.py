import json
import subprocess
import sys

import pytest

from nbcad.dicom import FileRecord
from nbcad.dicom.sources import IGNORED, REFUSED
from nbcad.language.message import verbatim
from nbcad.runtime import verbosity
from nbcad.runtime.progress import progress


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    """Keep pytest's filters of warnings."""
    monkeypatch.setattr("sys.warnoptions", ["error"])


def _say() -> None:
    verbosity.note("made")
    verbosity.hint("left out")
    verbosity.detail("why")
    list(progress(range(2), desc="work", unit="item"))


@pytest.mark.parametrize(
    ("level", "out", "err"),
    [
        (verbosity.QUIET, "", []),
        (verbosity.NORMAL, "made\n", ["left out", "work:"]),
        (verbosity.VERBOSE, "made\n", ["left out", "why", "work:"]),
    ],
)
def test_what_is_said_at_each_level(capsys, level, out, err):
    verbosity.choose(level)
    _say()
    said = capsys.readouterr()
    assert said.out == out
    lines = [line for line in said.err.splitlines() if "2/2" in line or not line.startswith("work:")]
    assert [line.split(" ")[0] if line.startswith("work:") else line for line in lines] == err


def test_a_step_that_another_starts_says_as_much():
    verbosity.choose(verbosity.QUIET)
    verbosity.choose(None)
    assert verbosity.quiet()
    verbosity.choose(verbosity.VERBOSE)
    assert verbosity.verbose()


def test_a_file_that_is_not_used_is_told_once_with_its_frames(capsys):
    verbosity.choose(verbosity.VERBOSE)
    record = FileRecord("a/file")
    record.frames = 4
    record.set_aside(REFUSED, verbatim("damaged"), 2)
    record.set_aside(REFUSED, verbatim("damaged"), 2)
    record.set_aside(IGNORED, verbatim("a scout"))
    record.set_aside(IGNORED, verbatim("a scout"))
    FileRecord("other", IGNORED, verbatim("no DICOM"))
    assert capsys.readouterr().err.splitlines() == [
        "refused: a/file, frame 2: damaged",
        "ignored: a/file, frames 0-1, 3: a scout",
        "ignored: other: no DICOM",
    ]


@pytest.mark.parametrize(("level", "events"), [("quiet", "w"), ("normal", "iw"), ("verbose", "diw")])
def test_the_node_s_log_is_json_alone_at_each_level(level, events):
    program = (
        "from nbcad.dicom import FileRecord; from nbcad.node import log; from nbcad.runtime import verbosity\n"
        f"verbosity.choose({level!r}); log.start({level!r})\n"
        "FileRecord('SECRET', 'refused', 'SECRET')\n"
        "log.debug('d'); log.info('i'); log.warn('w')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "".join(json.loads(line)["event"] for line in done.stderr.splitlines()) == events
