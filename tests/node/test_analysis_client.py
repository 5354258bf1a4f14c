"""The process that analyses, as the node sees it: replaced when a study has ended it."""

import sys
import time
from contextlib import closing

import pytest

from make_node import study_in_analysis
from nbcad.errors import ModelError
from nbcad.language.message import verbatim
from nbcad.node import analysis_client
from nbcad.node.analysis_client import AnalysisFailed, Analyst, Stopped
from nbcad.node.config import Analyse

SPEAKS = """
import json, os, sys, time
from multiprocessing.connection import Connection
line = Connection(int(sys.argv[1]))
line.recv_bytes()
line.send_bytes(b"{}")
while True:
    task = json.loads(line.recv_bytes())
    exec(open(task["images"] + "/what").read())
    line.send_bytes(json.dumps({"stage": None, "lesions": 0, "results": [], "reason": ""}).encode())
"""


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("os.abort()", "ended by SIGABRT"),
        ("os.kill(os.getpid(), 9)", "out of memory"),
        ("sys.exit(5)", "ended with code 5"),
        ("time.sleep(60)", "more than 1 s"),
    ],
)
def test_process_that_a_study_ends_or_holds_up_is_replaced_for_the_next(queue, tmp_path, monkeypatch, what, told):
    monkeypatch.setattr(analysis_client, "COMMAND", (sys.executable, "-c", SPEAKS))
    with closing(Analyst(Analyse(timeout_s=1.0), tmp_path / "log")) as made:
        for number, action in ((1, what), (2, "pass")):
            taken = study_in_analysis(queue, number)
            (taken.images / "what").write_text(action)
            if action != "pass":
                with pytest.raises(AnalysisFailed, match=told):
                    made.analyse(taken, taken.folder / "report-1", lambda: False)
                queue.set_aside(taken, verbatim(told))
            else:
                assert made.analyse(taken, taken.folder / "report-1", lambda: False).lesions == 0


def test_process_that_cannot_load_the_models_says_where_more_stands(tmp_path, monkeypatch):
    monkeypatch.setattr(analysis_client, "COMMAND", (sys.executable, "-c", "import nothing_of_this_name"))
    with closing(Analyst(Analyse(), tmp_path / "log")) as made, pytest.raises(ModelError, match=str(tmp_path / "log")):
        made.start()
    assert "nothing_of_this_name" in (tmp_path / "log").read_text()


def test_node_that_ends_does_not_wait_for_an_analysis(queue, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis_client, "COMMAND", (sys.executable, "-c", SPEAKS))
    taken = study_in_analysis(queue)
    (taken.images / "what").write_text("time.sleep(60)")
    began = time.monotonic()
    with closing(Analyst(Analyse(), tmp_path / "log")) as made, pytest.raises(Stopped):
        made.analyse(taken, taken.folder / "report-1", lambda: True)
    assert time.monotonic() - began < 10
