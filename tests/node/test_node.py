"""The DICOM node: its queue, its receiver, worker and sender, each by itself and in this process."""

import contextlib
import dataclasses
import errno
import gc
import json
import logging
import resource
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import namedtuple
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pydicom
import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from make_archive import ask
from make_dicom import as_stored, write
from make_node import SENDER, archive, arrive, association, results_in, running, store, study
from nbcad.dicom import read_archive
from nbcad.errors import DatabaseError, InputError, ModelError, OutputError
from nbcad.node import analysis_client, jobs, log, receiver
from nbcad.node.analysis_client import AnalysisFailed, Analyst, Findings, Stopped
from nbcad.node.config import Analyse, Config, Pages, Receive, Send, Tls, read_config
from nbcad.node.jobs import ANEW, MOST_BROKEN_OFF, Arrival, Jobs, State
from nbcad.node.node import Node
from nbcad.node.receiver import NO_MATCH, NOT_UNDERSTOOD, OUT_OF_RESOURCES, SUCCESS, Receiver
from nbcad.node.sender import Sender
from nbcad.node.worker import Worker
from nbcad.runtime.paths import NODE_CONFIG
from repository import run_tool

PLAIN = Tls()
SETTINGS = Receive(port=0, senders=(SENDER, "OTHER"), quiet_s=0.0, reserve_mib=0, timeout_s=5.0)


pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def _sockets_of_pynetdicom():
    """It leaves those to the garbage collector whose peer was gone first."""
    yield
    gc.collect()


def _raising(error: Exception):
    """What raises an error, whatever it is called with."""

    def call(*_):
        raise error

    return call


@pytest.fixture
def queue(tmp_path):
    with closing(Jobs(tmp_path / "node")) as made:
        yield made


def _analysing(queue: Jobs, number: int = 1):
    """A study whose analysis began."""
    arrive(queue, study(number)[0])
    queue.settle(0)
    return queue.take()


def _sending(queue: Jobs, number: int = 1, count: int = 2):
    """A study with results."""
    taken = _analysing(queue, number)
    results = results_in(taken.folder / f"report-{taken.analyses}", taken.study_uid, count)
    assert queue.analysed(taken, results[0].parent, "L1", 3, results)
    return queue.study(taken.job)


# --- the queue


def test_study_waits_when_nothing_came_for_a_while_and_goes_from_state_to_state(queue):
    images = study(1)
    for image in images:
        job, arrival = arrive(queue, image)
        assert (job, arrival) == (1, Arrival.NEW)
    assert queue.settle(60) == [] and queue.study(1).state == State.RECEIVING and queue.take() is None
    assert queue.settle(0) == [1] and queue.study(1).state == State.WAITING
    taken = queue.take()
    assert (taken.state, taken.objects, taken.analyses, taken.sender) == (State.ANALYSING, 3, 1, SENDER)
    assert len(list(taken.images.iterdir())) == 3
    results = results_in(taken.folder / "report-1", taken.study_uid)
    assert queue.analysed(taken, taken.folder / "report-1", "L2", 4, results)
    sending = queue.to_send()
    assert (sending.state, sending.stage, sending.lesions, sending.results) == (State.SENDING, "L2", 4, 2)
    for result in queue.unsent(sending):
        queue.delivered(result)
    assert queue.unsent(sending) == [] and queue.all_delivered(sending)
    done = queue.study(1)
    assert (done.state, done.sent, done.report) == (State.DONE, 2, taken.folder / "report-1")
    assert queue.studies() == [done] and queue.studies(State.WAITING) == [] and queue.counts()[State.DONE] == 1


def test_jobs_count_studies_and_not_their_objects(queue):
    assert [arrive(queue, image)[0] for number in (1, 2, 3) for image in study(number)] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_object_sent_twice_is_kept_once_and_one_with_another_content_takes_its_place(queue):
    image = study(1)[0]
    arrive(queue, image, b"1")
    assert arrive(queue, image, b"1")[1] == Arrival.KNOWN
    assert arrive(queue, image, b"22")[1] == Arrival.REPLACED
    kept = queue.study(1)
    (path,) = kept.images.iterdir()
    assert (kept.objects, kept.bytes, path.read_bytes()) == (1, 2, b"22")


def test_names_on_disk_tell_nothing_of_the_patient_and_uids_cannot_lead_out_of_the_folder(queue):
    arrive(queue, SimpleNamespace(StudyInstanceUID="../../../evil", SOPInstanceUID="../../../evil"))
    kept = queue.study(1)
    (path,) = kept.images.resolve().iterdir()
    assert path.is_relative_to(queue.folder) and "evil" not in str(path)


@pytest.mark.parametrize("state", [State.ANALYSING, State.SENDING, State.DONE, State.SET_ASIDE])
def test_new_object_has_a_study_analysed_anew_from_any_state_and_says_so(queue, state):
    if state == State.ANALYSING:
        _analysing(queue)
    elif state == State.SET_ASIDE:
        queue.set_aside(_analysing(queue), "broken")
    else:
        _sending(queue)
        if state == State.DONE:
            queue.all_delivered(queue.study(1))
    assert queue.study(1).state == state
    arrive(queue, study(1)[0], b"1")  # known
    assert queue.study(1).state == (State.RECEIVING if state == State.SET_ASIDE else state)
    arrive(queue, study(1, slices=2)[1], b"1")
    again = queue.study(1)
    assert again.state == State.RECEIVING and again.reason == ("" if state == State.SET_ASIDE else ANEW)
    assert queue.to_send() is None
    queue.settle(0)
    assert queue.take().analyses == 2


def test_analysis_into_which_objects_came_is_not_recorded(queue):
    taken = _analysing(queue)
    arrive(queue, study(1, slices=2)[1])
    results = results_in(taken.folder / "report-1", taken.study_uid)
    assert not queue.analysed(taken, results[0].parent, "M", 1, results)
    assert not queue.set_aside(taken, "too late") and not queue.put_back(taken, "too late")
    now = queue.study(taken.job)
    assert (now.state, now.stage, now.results) == (State.RECEIVING, None, 0)


def test_study_set_aside_is_tried_again_when_it_is_sent_again(queue):
    queue.set_aside(_analysing(queue), "no memory")
    assert queue.study(1).reason == "no memory"
    assert arrive(queue, study(1)[0])[1] == Arrival.KNOWN
    assert (queue.study(1).state, queue.study(1).reason) == (State.RECEIVING, "")


def test_killed_process_loses_no_study_and_no_record_of_what_was_sent(queue):
    sending = _sending(queue)
    queue.delivered(queue.unsent(sending)[0])
    _analysing(queue, 2)
    arrive(queue, study(3)[0])
    (queue.incoming / "half").write_bytes(b"half an object")
    with closing(Jobs(queue.folder)) as after:
        assert after.recover() == [2] and list(after.incoming.iterdir()) == []
        assert [after.study(n).state for n in (1, 2, 3)] == [State.SENDING, State.WAITING, State.RECEIVING]
        assert [result.name for result in after.unsent(after.to_send())] == ["report-1/0001.dcm"]
        assert after.take().analyses == 2  # another folder than the one that the killed process may still write


def test_study_whose_analysis_ends_the_node_every_time_is_set_aside(queue):
    arrive(queue, study(1)[0])
    queue.settle(0)
    for _ in range(MOST_BROKEN_OFF):
        assert queue.take().state == State.ANALYSING
        queue.recover()
    assert queue.study(1).state == State.SET_ASIDE and "3 times" in queue.study(1).reason


def test_old_studies_are_removed_with_their_files_and_others_are_kept(queue):
    done = _sending(queue)
    queue.all_delivered(done)
    waiting = _sending(queue, 2)
    assert queue.forget(time.time() - 60) == [] and queue.forget(time.time() + 60) == [1]
    assert not done.folder.exists() and waiting.folder.exists() and queue.study(1) is None
    assert arrive(queue, study(1)[0])[0] == 3  # a number is not given twice


def test_sender_that_begins_anew_and_one_that_could_not_reach_the_node_are_waited_for(queue, monkeypatch):
    images = study(1)
    now = time.time()
    monkeypatch.setattr(jobs.time, "time", lambda: now)
    arrive(queue, images[0])
    now += 20
    arrive(queue, images[0])
    now += 20
    assert queue.settle(30) == []
    now += 100
    queue.recover()
    now += 20
    assert queue.settle(30) == []
    now += 11
    assert queue.settle(30) == [1]


def test_results_are_tried_again_only_after_their_time_and_all_at_once_after_a_start(queue):
    queue.not_delivered(_sending(queue), "nobody there", 3600)
    assert queue.to_send() is None
    assert (queue.study(1).reason, queue.study(1).send_attempts) == ("nobody there", 1)
    queue.recover()
    assert queue.to_send().job == 1


def test_queue_of_another_version_or_none_is_refused(tmp_path):
    Jobs(tmp_path / "a").close()
    with closing(sqlite3.connect(tmp_path / "a" / jobs.DATABASE)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(DatabaseError, match="version 99"):
        Jobs(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / jobs.DATABASE).write_bytes(b"no database" * 100)
    with pytest.raises(DatabaseError, match="no queue"):
        Jobs(tmp_path / "b")


# --- settings


def test_example_has_every_key_with_its_default(tmp_path):
    text = NODE_CONFIG.read_text()
    path = tmp_path / "node.toml"
    path.write_text(text.replace("senders = []", 'senders = ["A"]'))
    assert read_config(path) == dataclasses.replace(Config(), receive=Receive(senders=("A",)))
    written = [line.partition(" = ")[0] for line in text.splitlines() if " = " in line and not line.startswith("#")]
    tables = (Receive, Tls, Analyse, Send, Pages)
    known = [f.name for kind in tables for f in dataclasses.fields(kind)] + ["folder", "keep_days"]
    assert sorted(written) == sorted(known)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("colour = 1", "key 'colour' is not known"),
        ("[receive]\nprot = 1", r"\[receive\]: key 'prot' is not known"),
        ('[receive]\nport = "104"', "key 'port' is '104', not a whole number"),
        ("[receive]\nport = true", "not a whole number"),
        ("[receive]\nport = 70000", "not from 0 to 65535"),
        ("[receive]\nsenders = [1]", "not a list of texts"),
        ('[receive]\nsenders = ["SEVENTEEN-LETTERS"]', "SEVENTEEN-LETTERS"),
        ('[receive]\nae_title = "A\\\\B"', "none of its kind"),
        ("[receive]\nsenders = []", "'senders' of .receive. is empty"),
        ("receive = 1", "not a table"),
        ('[analyse]\ndevice = "gpu"', "'gpu' is none of its kind"),
        ('[tls]\ncertificate = "x"', "both a certificate and its key"),
        ("[send]\ntls = true", "needs ca"),
        ("[send]\ntls = 1", "not true or false"),
        ("[receive", "no TOML"),
    ],
)
def test_settings_that_are_wrong_are_refused_by_the_name_of_their_key(tmp_path, text, told):
    path = tmp_path / "node.toml"
    path.write_text(text)
    given = {} if "senders" in text else {"receive": {"senders": ["A"]}}
    with pytest.raises(InputError, match=told):
        read_config(path, given)


def test_options_go_before_the_file(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text('folder = "a"\n[receive]\nport = 1\nquiet_s = 5')
    config = read_config(path, {"folder": "b", "receive": {"port": 2, "senders": ["A"]}})
    assert (config.folder, config.receive.port, config.receive.quiet_s) == ("b", 2, 5.0)


def test_serve_refuses_wrong_use_in_one_line(tmp_path):
    for arguments, told in (
        (["--config", tmp_path / "none"], "cannot be read"),
        ([], "senders"),
        (["--sender", "A", "--folder", tmp_path / "node", "--models", tmp_path], "model file"),
    ):
        done = run_tool("serve", *arguments)
        assert done.returncode == 1 and told in done.stderr and done.stderr.count("\n") == 1
    assert run_tool("serve", "--destination", "nowhere").returncode == 2


# --- receiving


@contextlib.contextmanager
def _receiving(queue: Jobs, tls: Tls = PLAIN, **settings):
    """A running receiver's port."""
    made = Receiver(dataclasses.replace(SETTINGS, **settings), tls, queue)
    made.start()
    try:
        yield made.address[1]
    finally:
        made.stop()


@pytest.fixture
def port(queue):
    with _receiving(queue) as number:
        yield number


def _echoes(port: int) -> bool:
    with association(port) as made:
        return made.is_established and made.send_c_echo().Status == SUCCESS


def test_object_is_on_disk_and_in_the_queue_when_success_is_said(queue, port):
    images = study(1)
    with association(port) as made:
        assert made.send_c_echo().Status == SUCCESS
        assert [store(made, image) for image in images] == [SUCCESS] * 3
        with closing(Jobs(queue.folder)) as another_process:
            kept = another_process.study(1)
    assert (kept.objects, kept.sender, kept.study_uid) == (3, SENDER, "2.25.1")
    found = {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path) for path in kept.images.iterdir()}
    assert found == {image.SOPInstanceUID: image for image in images}
    assert list(queue.incoming.iterdir()) == []


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless, JPEGLosslessSV1,
     JPEGLSLossless, JPEG2000Lossless],
)  # fmt: skip
def test_object_in_any_transfer_syntax_is_kept_as_it_came_and_can_be_analysed(queue, port, syntax):
    image = as_stored(study(1)[0], syntax)
    with association(port, syntax=syntax) as made:
        assert store(made, image) == SUCCESS
    (path,) = queue.study(1).images.iterdir()
    assert pydicom.dcmread(path) == image and pydicom.dcmread(path).file_meta.TransferSyntaxUID == syntax
    assert [record.status for record in read_archive(path).files] == ["used"]


def test_senders_that_are_not_known_and_wrong_titles_are_turned_away(port):
    for calling, called in (("STRANGER", "NBCAD"), (SENDER, "OTHERNODE")):
        with association(port, calling, called) as made:
            assert made.is_rejected
    assert _echoes(port)


def test_no_more_associations_are_let_in_than_may_be(queue):
    with _receiving(queue, max_associations=2) as port, association(port) as one, association(port, "OTHER") as two:
        with association(port) as third:
            assert one.is_established and two.is_established and third.is_rejected
        assert store(one, study(1)[0]) == SUCCESS


def test_object_that_is_too_large_is_refused_and_the_next_is_taken(queue):
    with _receiving(queue, max_object_mib=1) as port, association(port) as made:
        assert store(made, study(1, pixels=800)[0]) == OUT_OF_RESOURCES
        assert store(made, study(2)[0]) == SUCCESS
    assert [found.study_uid for found in queue.studies()] == ["2.25.2"]


def test_object_that_is_not_what_the_command_says_or_cannot_be_read_is_refused(queue, port):
    image = study(1)[0]
    nameless = study(2)[0]
    del nameless.StudyInstanceUID
    with association(port) as made:
        assert store(made, image, sop_uid="2.25.9") == NO_MATCH
        assert store(made, nameless) == NOT_UNDERSTOOD
        assert store(made, image, data=b"\x00" * 50) in (NO_MATCH, NOT_UNDERSTOOD)
        assert store(made, image) == SUCCESS
    assert queue.study(1).objects == 1 and list(queue.incoming.iterdir()) == []


def test_full_disk_is_answered_with_out_of_resources_and_nothing_is_left_behind(queue, port, monkeypatch):
    image = study(1)[0]
    usage = namedtuple("usage", "total used free")
    with association(port) as made:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            assert store(made, study(2, pixels=400)[0]) == OUT_OF_RESOURCES
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        with monkeypatch.context() as patch:
            patch.setattr(receiver.shutil, "disk_usage", lambda path: usage(1, 1, 1000))
            assert store(made, image) == OUT_OF_RESOURCES
        for error in (OSError(errno.ENOSPC, "No space left on device"), sqlite3.OperationalError("disk is full")):
            with monkeypatch.context() as patch:
                patch.setattr(queue, "add", _raising(error))
                assert store(made, image) == OUT_OF_RESOURCES
        assert queue.studies() == [] and list(queue.incoming.iterdir()) == []
        assert store(made, image) == SUCCESS


def test_transaction_that_cannot_be_written_is_not_half_there(queue, monkeypatch):
    monkeypatch.setattr(jobs.os, "replace", _raising(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError):
        arrive(queue, study(1)[0])
    assert queue.studies() == []


def test_own_results_that_an_archive_hands_on_are_not_taken_for_a_study(queue, port):
    image = study(1)[0]
    image.Manufacturer = "nbcad"
    with association(port) as made:
        assert store(made, image) == SUCCESS
    assert queue.studies() == []


def test_sender_that_is_too_fast_waits(queue):
    with _receiving(queue, max_objects_per_s=10.0) as port, association(port) as made:
        began = time.monotonic()
        for image in study(1, slices=4):
            assert store(made, image) == SUCCESS
        assert time.monotonic() - began >= 0.3


def test_time_that_the_node_takes_is_no_silence_of_the_sender(queue, monkeypatch):
    add = queue.add
    monkeypatch.setattr(queue, "add", lambda received: time.sleep(1.5) or add(received))
    with _receiving(queue, timeout_s=1.0) as port, association(port) as made:
        assert [store(made, image) for image in study(1, slices=2)] == [SUCCESS] * 2


def test_bytes_that_are_no_dicom_and_silence_hold_nothing_up(queue):
    with _receiving(queue, timeout_s=1.0, max_associations=3) as port:
        waiting = []
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x01\x00\xff\xff\xff\xff" + b"x" * 100, b"\x01\x00", b""):
            waiting.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            waiting[-1].sendall(data)
        assert _echoes(port)
        for connection in waiting:
            with connection, contextlib.suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass  # an abort may come before the end
        assert _echoes(port)


def test_pdu_longer_than_any_sound_one_is_not_read():
    read = []
    bounded = receiver.refusing_long_pdus(lambda count: read.append(count) or bytearray())
    bounded(6)
    with pytest.raises(OSError):  # by which pynetdicom ends the connection
        bounded(0xFFFFFFFF)
    assert read == [6]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Tls:
    """A certificate of 127.0.0.1 that is its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=node",
               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return Tls(str(certificate), str(key), str(certificate))


def test_by_tls_only_who_has_a_certificate_gets_in_and_a_silent_peer_holds_nothing_up(queue, certificates):
    with _receiving(queue, certificates, timeout_s=2.0) as port:
        with socket.create_connection(("127.0.0.1", port)), association(port) as plain:
            assert not plain.is_established
        with socket.create_connection(("127.0.0.1", port)):  # says nothing
            context = receiver.ssl.create_default_context(cafile=certificates.ca)
            with association(port, tls_args=(context, "127.0.0.1")) as unknown:
                assert not unknown.is_established
            context.load_cert_chain(certificates.certificate, certificates.key)
            with association(port, tls_args=(context, "127.0.0.1")) as made:
                assert store(made, study(1)[0]) == SUCCESS
    with pytest.raises(InputError, match="cannot be used"):
        receiver.server_tls(Tls("none", "none", ""))


# --- analysing


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


def _worker(queue: Jobs, *outcomes, sends: bool = True) -> Worker:
    return Worker(queue, Fake(*outcomes), 0.0, sends)


def test_worker_sets_aside_what_fails_and_goes_on_with_the_next(queue, monkeypatch):
    for number in (1, 2, 3):
        arrive(queue, study(number)[0])
    worker = _worker(queue, AnalysisFailed("its analysis was ended by SIGSEGV"), "no series could be analysed: T1", "")
    assert [worker.step() for _ in range(4)] == [True, True, True, False]
    found = [queue.study(n) for n in (1, 2, 3)]
    assert [each.state for each in found] == [State.SET_ASIDE, State.SET_ASIDE, State.SENDING]
    assert [each.reason for each in found[:2]] == [
        "its analysis was ended by SIGSEGV",
        "no series could be analysed: T1",
    ]
    assert found[0].report is None and found[1].report.is_dir() and found[2].results == 2


def test_without_an_archive_a_study_is_done_when_it_is_analysed(queue):
    arrive(queue, study(1)[0])
    _worker(queue, "", sends=False).step()
    assert queue.study(1).state == State.DONE and queue.study(1).report.is_dir()


@pytest.mark.parametrize("error", [OutputError("no space"), ModelError("gone"), Stopped()])
def test_study_waits_again_when_its_analysis_failed_by_no_fault_of_its_own(queue, monkeypatch, error):
    arrive(queue, study(1)[0])
    worker = _worker(queue, error, "")
    monkeypatch.setattr(worker.stopping, "wait", lambda seconds: None)
    assert worker.step() and queue.study(1).state == State.WAITING
    assert worker.step() and queue.study(1).state == State.SENDING


def test_only_the_newest_report_is_kept(queue):
    arrive(queue, study(1)[0])
    worker = _worker(queue, "", "")
    worker.step()
    arrive(queue, study(1, slices=2)[1])
    worker.step()
    kept = queue.study(1)
    assert [path.name for path in kept.folder.glob("report-*")] == ["report-2"] and kept.report.name == "report-2"


def test_study_whose_result_could_not_be_recorded_is_analysed_once_more(queue, monkeypatch):
    arrive(queue, study(1)[0])
    worker = _worker(queue, "", "")
    with monkeypatch.context() as patch:
        patch.setattr(queue, "analysed", _raising(sqlite3.OperationalError("disk is full")))
        with pytest.raises(sqlite3.OperationalError):
            worker.step()
    assert worker.step() and queue.study(1).state == State.SENDING


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
            taken = _analysing(queue, number)
            (taken.images / "what").write_text(action)
            if action != "pass":
                with pytest.raises(AnalysisFailed, match=told):
                    made.analyse(taken, taken.folder / "report-1", lambda: False)
                queue.set_aside(taken, told)
            else:
                assert made.analyse(taken, taken.folder / "report-1", lambda: False).lesions == 0


def test_process_that_cannot_load_the_models_says_where_more_stands(tmp_path, monkeypatch):
    monkeypatch.setattr(analysis_client, "COMMAND", (sys.executable, "-c", "import nothing_of_this_name"))
    with closing(Analyst(Analyse(), tmp_path / "log")) as made, pytest.raises(ModelError, match=str(tmp_path / "log")):
        made.start()
    assert "nothing_of_this_name" in (tmp_path / "log").read_text()


def test_node_that_ends_does_not_wait_for_an_analysis(queue, tmp_path, monkeypatch):
    monkeypatch.setattr(analysis_client, "COMMAND", (sys.executable, "-c", SPEAKS))
    taken = _analysing(queue)
    (taken.images / "what").write_text("time.sleep(60)")
    began = time.monotonic()
    with closing(Analyst(Analyse(), tmp_path / "log")) as made, pytest.raises(Stopped):
        made.analyse(taken, taken.folder / "report-1", lambda: True)
    assert time.monotonic() - began < 10


def test_analysis_answers_with_results_or_with_the_reason_for_none(eager, tmp_path, monkeypatch):
    from nbcad.node import analysis_server

    for n, image in enumerate(study(1)):
        write(image, tmp_path / "in" / str(n))
    found = analysis_server.analyse_study(tmp_path / "in", tmp_path / "out", eager, Analyse())
    assert {"0001.sr.dcm", "0001-01.sc.dcm"} <= {Path(path).name for path in found["results"]}
    assert found["lesions"] > 0 and found["reason"] == "" and found["stage"] in eager.stages
    image = study(2)[0]
    image.SeriesDescription = "T1"
    write(image, tmp_path / "t1" / "x")
    found = analysis_server.analyse_study(tmp_path / "t1", tmp_path / "out1", eager, Analyse())
    assert found["reason"].startswith("no series could be analysed: rule") and found["results"] == []
    assert (tmp_path / "out1" / "report.html").is_file()
    assert "failed" in analysis_server.analyse_study(tmp_path / "none", tmp_path / "out2", eager, Analyse())
    monkeypatch.setattr(analysis_server, "write_report", _raising(MemoryError))
    assert "4 GiB" in analysis_server.analyse_study(tmp_path / "in", tmp_path / "out3", eager, Analyse())["failed"]


# --- sending


def _sender(queue: Jobs, port: int, **settings) -> Sender:
    return Sender(Send(host="127.0.0.1", port=port, **{"retry_s": 0.1} | settings), Tls(), "NBCAD", queue)


def test_results_go_to_the_archive_and_each_delivery_is_recorded(queue):
    _sending(queue, count=3)
    with archive() as (pacs, port):
        sender = _sender(queue, port)
        assert sender.step() and not sender.step()
    assert len(pacs.got) == 3 and queue.study(1).state == State.DONE and queue.study(1).sent == 3


def test_what_the_archive_refuses_is_tried_again_later_and_the_rest_is_not_sent_twice(queue):
    _sending(queue, count=3)
    with archive() as (pacs, port):
        pacs.answers = [0, 0xA700, 0]
        sender = _sender(queue, port)
        sender.step()
        waits = queue.study(1)
        assert (waits.state, waits.sent, waits.send_attempts) == (State.SENDING, 2, 1) and "A700" in waits.reason
        assert not sender.step()  # not yet
        time.sleep(0.15)
        assert sender.step()
    assert len(set(pacs.uids())) == len(pacs.uids()) == 3 and queue.study(1).state == State.DONE


def test_delivery_that_was_not_recorded_is_sent_again_under_the_same_uid(queue, monkeypatch):
    _sending(queue, count=1)
    with archive() as (pacs, port):
        with monkeypatch.context() as patch:
            patch.setattr(queue, "delivered", _raising(OSError("killed here")))
            with pytest.raises(OSError):
                _sender(queue, port).step()
        _sender(queue, port).step()
    assert len(pacs.uids()) == 2 and len(set(pacs.uids())) == 1 and queue.study(1).state == State.DONE


def test_archive_that_is_not_there_is_asked_less_and_less_and_given_up_in_the_end(queue):
    _sending(queue)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sender = _sender(queue, port, retry_s=3600.0)
    sender.step()
    assert queue.to_send() is None and "cannot be reached" in queue.study(1).reason
    queue.recover()
    _sender(queue, port, give_up_h=0.0).step()
    assert queue.study(1).state == State.SET_ASIDE and "could not be delivered" in queue.study(1).reason


def test_results_go_by_tls(queue, certificates):
    _sending(queue)
    with archive(ssl_context=receiver.server_tls(certificates)) as (pacs, port):
        settings = Send(host="127.0.0.1", port=port, tls=True)
        Sender(settings, certificates, "NBCAD", queue).step()
    assert len(pacs.got) == 2 and queue.study(1).state == State.DONE


# --- the whole


def test_study_that_is_sent_to_the_program_comes_back_as_a_report(flow, tmp_path):
    with archive() as (pacs, archive_port), running(tmp_path, flow.models, archive_port, quiet_s=0.5) as node:
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
        _sending(before)
    monkeypatch.setattr("nbcad.node.node.Analyst", lambda *_: SimpleNamespace(start=lambda: None, close=lambda: None))
    monkeypatch.setattr("nbcad.node.log.warn", lambda event, **facts: told.append((event, facts)))
    told = []
    with Node(Config(folder=str(tmp_path), receive=SETTINGS, pages=Pages(bind=""))) as node:
        assert node.jobs.counts()[State.SENDING] == 1
    assert told == [("results wait, but [send] names no archive", {"studies": 1})]


# --- the log


def test_log_is_lines_of_json_and_a_defect_tells_where_but_not_what_it_says(capsys, monkeypatch):
    for name in ("nbcad.node", "pydicom", "pynetdicom", "waitress"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr("pynetdicom._config.LOG_HANDLER_LEVEL", "standard")
    log.start()
    log.info("study complete", job=3, objects=40)
    try:
        raise ValueError("SECRET^NAME")
    except ValueError as error:
        log.defect(type(error), error.__traceback__)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("study complete", "info"), ("defect", "error")]
    assert lines[0]["job"] == 3 and "test_node.py" in lines[1]["traceback"][0] and "SECRET" not in json.dumps(lines)
