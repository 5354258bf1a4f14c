"""The worker: one study after the other, whatever becomes of each."""

import sqlite3

import pytest

from make_node import arrive, raising, results_in, study
from nbcad.errors import ModelError, OutputError
from nbcad.language.message import EMPTY, message
from nbcad.node.analysis_client import AnalysisFailed, Findings, Stopped
from nbcad.node.jobs import Jobs
from nbcad.node.study import State
from nbcad.node.worker import Worker


class Fake:
    """Stands for the analyst: finds what it is told to, or raises it."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.closed = False

    def analyse(self, taken, report, stopping):
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return Findings("L2", 1, results_in(report, taken.study_uid), outcome)


_ENDED = message("its analysis was ended by {name}", name="SIGSEGV")
_NO_SERIES = message("no series could be analysed: {reason}", reason="T1")


def _worker(queue: Jobs, *outcomes, sends: bool = True) -> Worker:
    return Worker(queue, Fake(*outcomes), 0.0, sends)


def test_worker_sets_aside_what_fails_and_goes_on_with_the_next(queue, monkeypatch):
    for number in (1, 2, 3):
        arrive(queue, study(number)[0])
    worker = _worker(queue, AnalysisFailed(_ENDED), _NO_SERIES, EMPTY)
    assert [worker.step() for _ in range(4)] == [True, True, True, False]
    found = [queue.study(n) for n in (1, 2, 3)]
    assert [each.state for each in found] == [State.SET_ASIDE, State.SET_ASIDE, State.SENDING]
    assert [str(each.reason) for each in found[:2]] == [
        "its analysis was ended by SIGSEGV",
        "no series could be analysed: T1",
    ]
    assert found[0].report is None and found[1].report.is_dir() and found[2].results == 2


def test_without_an_archive_a_study_is_done_when_it_is_analysed(queue):
    arrive(queue, study(1)[0])
    _worker(queue, EMPTY, sends=False).step()
    assert queue.study(1).state == State.DONE and queue.study(1).report.is_dir()


@pytest.mark.parametrize("error", [OutputError("no space"), ModelError("gone"), Stopped()])
def test_study_waits_again_when_its_analysis_failed_by_no_fault_of_its_own(queue, monkeypatch, error):
    arrive(queue, study(1)[0])
    worker = _worker(queue, error, EMPTY)
    monkeypatch.setattr(worker.stopping, "wait", lambda seconds: None)
    assert worker.step() and queue.study(1).state == State.WAITING
    assert worker.step() and queue.study(1).state == State.SENDING


def test_only_the_newest_report_is_kept(queue):
    arrive(queue, study(1)[0])
    worker = _worker(queue, EMPTY, EMPTY)
    worker.step()
    arrive(queue, study(1, slices=2)[1])
    worker.step()
    kept = queue.study(1)
    assert [path.name for path in kept.folder.glob("report-*")] == ["report-2"] and kept.report.name == "report-2"


def test_study_whose_result_could_not_be_recorded_is_analysed_once_more(queue, monkeypatch):
    arrive(queue, study(1)[0])
    worker = _worker(queue, EMPTY, EMPTY)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "analysed", raising(sqlite3.OperationalError("disk is full")))
        with pytest.raises(sqlite3.OperationalError):
            worker.step()
    assert worker.step() and queue.study(1).state == State.SENDING
