"""The node as a whole."""

import json
from contextlib import closing
from types import SimpleNamespace

import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
)

from make_archive import ask
from make_node import SENDER, archive, association, running, store, study, study_with_results
from nbcad.node.config import Config, Pages, Receive
from nbcad.node.jobs import Jobs
from nbcad.node.node import Node
from nbcad.node.receiver import SUCCESS
from nbcad.node.study import State
from repository import run_tool

SETTINGS = Receive(port=0, senders=(SENDER, "OTHER"), quiet_s=0.0, reserve_mib=0, timeout_s=5.0)
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("sockets_of_pynetdicom"),
]


def test_study_that_is_sent_to_the_program_comes_back_as_a_report(trusting, tmp_path):
    with archive() as (pacs, archive_port), running(tmp_path, trusting, archive_port, quiet_s=0.5) as node:
        with association(node.port) as made:
            assert [store(made, image) for image in study(1)] == [SUCCESS] * 3
        second = run_tool("serve", "--config", node.config)
        assert second.returncode == 1 and "in use by another node" in second.stderr
        (done,) = node.wait_for(1, 60)
        (pages,) = node.events("pages")
        assert b"Work list" in ask(pages["address"]) and json.loads(ask(f"{pages['address']}/health"))["healthy"]
        metrics = ask(f"{pages['address']}/metrics").decode().splitlines()
    counted = {
        "nbcad_objects_received_total 3.0",
        "nbcad_analysis_seconds_count 1.0",
        'nbcad_studies{state="done"} 1.0',
    }
    assert counted <= set(metrics)
    assert (done.state, done.sent) == (State.DONE, len(pacs.got)) and (done.report / "report.html").is_file()
    assert {made.StudyInstanceUID for made in pacs.got} == {"2.25.1"}
    assert [made.SOPClassUID for made in pacs.got].count(Comprehensive3DSRStorage) == 1
    assert [event["job"] for event in node.events("results delivered")] == [1]


def test_results_that_wait_while_no_archive_is_named_are_told_of(tmp_path, monkeypatch):
    with closing(Jobs(tmp_path)) as before:
        study_with_results(before)
    monkeypatch.setattr("nbcad.node.node.Analyst", lambda *_: SimpleNamespace(start=lambda: None, close=lambda: None))
    monkeypatch.setattr("nbcad.node.log.warn", lambda event, **facts: told.append((event, facts)))
    told = []
    with Node(Config(folder=str(tmp_path), receive=SETTINGS, pages=Pages(bind=""))) as node:
        assert node.jobs.counts()[State.SENDING] == 1
    assert told == [("results wait, but [send] names no archive", {"studies": 1})]
