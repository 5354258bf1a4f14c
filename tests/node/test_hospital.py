"""The node among a hospital's programs: dcmtk as scanner, Orthanc as archive. `make test-hospital`."""

import json
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from pydicom.uid import (
    Comprehensive3DSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom.dsutils import encode

from make_archive import ORTHANC, ask, free_port, orthanc
from make_dicom import as_stored, write
from make_node import QUIET_S, SENDERS, Archive, Running, archive, association, running, store, study, until
from nbcad.node.study import State

pytestmark = [
    pytest.mark.hospital,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),  # pynetdicom leaves sockets to the garbage collector
    pytest.mark.skipif(not shutil.which("storescu"), reason="needs Debian's dcmtk"),
]


def _scu(tool: str, port: int, calling: str, *arguments, called: str = "NBCAD") -> subprocess.CompletedProcess:
    command = [tool, "-aet", calling, "-aec", called, "-to", 10, *arguments[:-1], "127.0.0.1", port, *arguments[-1:]]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


def _echoes(node: Running) -> bool:
    return _scu("echoscu", node.port, SENDERS[0]).returncode == 0


def _send(port: int, folder: Path, calling: str = SENDERS[0], *options) -> bool:
    """Whether storescu sent all files of a folder."""
    return _scu("storescu", port, calling, "+sd", "+r", *options, folder).returncode == 0


def _written(folder: Path, number: int, slices: int) -> Path:
    for n, image in enumerate(study(number, slices)):
        write(image, folder / f"{number:03d}" / f"{n:03d}")
    return folder / f"{number:03d}"


def _reports(pacs: Archive) -> dict[str, set[str]]:
    """SOP Instance UIDs of the reports that came of each study."""
    found: dict[str, set[str]] = {}
    for made in pacs.got:
        if made.SOPClassUID == Comprehensive3DSRStorage:
            found.setdefault(made.StudyInstanceUID, set()).add(made.SOPInstanceUID)
    return found


@pytest.mark.skipif(not Path(ORTHANC).exists(), reason="needs Debian's orthanc")
def test_orthanc_sends_a_study_and_shows_the_results_it_gets_back(trusting, tmp_path):
    port = free_port()
    with (
        orthanc(tmp_path, port) as (rest, archive_port),
        running(tmp_path, trusting, archive_port, port=port) as node,
    ):
        for image in sorted(_written(tmp_path, 1, 6).iterdir()):
            ask(f"{rest}/instances", image.read_bytes())
        (number,) = json.loads(ask(f"{rest}/studies"))
        ask(f"{rest}/modalities/nbcad/store", number.encode())
        (done,) = node.wait_for(1, 60)
        assert (done.state, done.objects, done.sent) == (State.DONE, 6, done.results) and done.results >= 2
        (again,) = json.loads(ask(f"{rest}/studies"))  # the same one
        series = [json.loads(ask(f"{rest}/series/{n}")) for n in json.loads(ask(f"{rest}/studies/{again}"))["Series"]]
        by_modality = {each["MainDicomTags"]["Modality"]: each["Instances"] for each in series}
        assert set(by_modality) == {"MR", "SR", "OT"} and len(by_modality["SR"]) == 1
        tags = json.loads(ask(f"{rest}/instances/{by_modality['SR'][0]}/simplified-tags"))
        assert (tags["Manufacturer"], tags["PatientID"]) == ("nbcad", "SECRET-ID1")
        assert ask(f"{rest}/instances/{by_modality['OT'][0]}/preview").startswith(b"\x89PNG")
        # An archive that hands on all it has, results too, does not make the node go round.
        ask(f"{rest}/modalities/nbcad/store", again.encode())
        time.sleep(QUIET_S + 2)
        (after,) = node.studies()
        assert after == done


@pytest.mark.parametrize(
    ("syntax", "option"),
    [
        (ExplicitVRLittleEndian, "-xe"), (ImplicitVRLittleEndian, "-xi"), (ExplicitVRBigEndian, "-xb"),
        (DeflatedExplicitVRLittleEndian, "-xd"), (RLELossless, "-xr"), (JPEGLosslessSV1, "-xs"),
        (JPEGLSLossless, "-xt"), (JPEG2000Lossless, "-xv"),
    ],
)  # fmt: skip
def test_study_sent_by_storescu_in_any_transfer_syntax_is_analysed(scanner, tmp_path, syntax, option):
    node, numbers = scanner
    number = next(numbers)
    for n, image in enumerate(study(number)):
        write(as_stored(image, syntax), tmp_path / str(n))
    assert _send(node.port, tmp_path, SENDERS[0], "-R", option)
    until(lambda: any(s.study_uid == f"2.25.{number}" and s.state == State.DONE for s in node.studies()), 60)


@pytest.fixture(scope="module")
def scanner(trusting, tmp_path_factory):
    """A node for scanners, its archive in this process, and numbers of studies."""
    folder = tmp_path_factory.mktemp("scanner")
    with (
        archive() as (_, archive_port),
        running(folder, trusting, archive_port, max_object_mib=1, timeout_s=5) as node,
    ):
        yield node, iter(range(100, 1000))


def test_wrong_titles_and_large_objects_are_turned_away(scanner, tmp_path):
    node, numbers = scanner
    number = next(numbers)
    write(study(number, pixels=900)[0], tmp_path / "x")
    assert _scu("echoscu", node.port, "STRANGER").returncode != 0
    assert _scu("echoscu", node.port, SENDERS[0], called="OTHER").returncode != 0
    assert not _send(node.port, tmp_path)
    assert _echoes(node)
    assert {line["calling"] for line in node.events("association rejected")} >= {"STRANGER", SENDERS[0]}
    assert node.events("object refused")[-1]["status"] == "A700"
    assert not any(s.study_uid == f"2.25.{number}" for s in node.studies())


def test_malformed_associations_leave_the_node_answering(scanner):
    node, _ = scanner
    rng = random.Random(5)
    request = _association_request()
    sent = [bytes([kind]) + b"\x00\xff\xff\xff\xf0" for kind in range(1, 8)] + [request[:n] for n in (1, 6, 60)]
    sent += [rng.randbytes(rng.randint(1, 2000)) for _ in range(40)]
    for _ in range(60):
        broken = bytearray(request)
        for _ in range(rng.randint(1, 5)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        sent.append(bytes(broken))
    for data in sent:
        with socket.create_connection(("127.0.0.1", node.port), timeout=10) as connection:
            connection.sendall(data)
    until(lambda: _echoes(node), 30)
    assert node.process.poll() is None


def _association_request() -> bytes:
    """The first bytes that echoscu sends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        scu = threading.Thread(target=_scu, args=("echoscu", port, SENDERS[0]))
        scu.start()
        connection, _ = server.accept()
        with connection:
            data = connection.recv(65536)
        scu.join()
    return data


def test_fuzzed_commands_and_objects_leave_the_node_at_work(scanner, tmp_path):
    node, numbers = scanner
    rng = random.Random(6)
    image = study(next(numbers))[0]
    sound = encode(image, False, True)
    assert sound
    statuses = Counter()
    for _ in range(150):
        broken = bytearray(sound)
        for _ in range(rng.randint(1, 30)):
            broken[rng.randrange(min(len(broken), 700))] = rng.randrange(256)
        with association(node.port, SENDERS[0]) as made:
            statuses[store(made, image, bytes(broken[: rng.randint(0, len(broken))]))] += 1
    for _ in range(30):
        with association(node.port, SENDERS[0]) as made:
            data = rng.randbytes(200)
            made.dul.socket.send(b"\x04\x00" + (len(data) + 6).to_bytes(4, "big") + (len(data) + 2).to_bytes(4, "big")
                                 + b"\x01\x03" + data)  # fmt: skip
            made.abort()
    assert _echoes(node) and len(statuses) >= 2
    number = next(numbers)
    assert _send(node.port, _written(tmp_path, number, 4))
    until(lambda: any(s.study_uid == f"2.25.{number}" and s.state == State.DONE for s in node.studies()), 120)


def test_fifty_studies_of_four_senders_at_once_come_through_without_a_loss(trusting, tmp_path):
    for number in range(50):
        _written(tmp_path / f"sender{number % 4}", number + 1, 40)
    with archive() as (pacs, archive_port), running(tmp_path, trusting, archive_port) as node:
        sent: list[bool] = []
        threads = [
            threading.Thread(target=lambda n=n: sent.append(_send(node.port, tmp_path / f"sender{n}", SENDERS[n])))
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sent == [True] * 4
        studies = node.wait_for(50, 500)
    assert Counter(s.state for s in studies) == {State.DONE: 50} and {s.objects for s in studies} == {40}
    reports = _reports(pacs)
    assert len(reports) == 50 and all(len(uids) == 1 for uids in reports.values())
    assert Counter(pacs.uids()).most_common(1)[0][1] == 1 and len(pacs.got) == sum(s.results for s in studies)


def test_killed_node_answers_every_study_once_when_it_is_started_again(trusting, tmp_path):
    """SIGKILL five times: while it receives, analyses and sends."""
    count, kills = 16, 5
    for number in range(count):
        _written(tmp_path / "in", number + 1, 10)
    with archive() as (pacs, archive_port), running(tmp_path, trusting, archive_port) as node:

        def send_all() -> None:
            for folder in sorted((tmp_path / "in").iterdir()):
                while not _send(node.port, folder):  # as a scanner does
                    time.sleep(0.1)

        sender = threading.Thread(target=send_all)
        sender.start()
        rng = random.Random(7)
        for kill in range(kills):
            time.sleep(rng.uniform(0.2, 1.0))
            if kill:
                node.wait_for(2 * kill, 120)
            assert node.end(signal.SIGKILL) == -signal.SIGKILL
            node.start()
        sender.join()
        studies = node.wait_for(count, 300)
    assert Counter(s.state for s in studies) == {State.DONE: count} and {s.objects for s in studies} == {10}
    reports = _reports(pacs)
    assert len(reports) == count and all(len(uids) == 1 for uids in reports.values())
    assert len(set(pacs.uids())) == sum(s.results for s in studies)
    assert len(pacs.got) - len(set(pacs.uids())) <= kills  # of each kill one may have come between sending and record


def test_node_that_is_asked_to_end_does_so_and_goes_on_later(trusting, tmp_path):
    with archive() as (pacs, archive_port), running(tmp_path, trusting, archive_port) as node:
        assert _send(node.port, _written(tmp_path, 1, 30))
        until(lambda: node.studies()[0].state == State.ANALYSING, 30)
        assert node.end(signal.SIGINT) == 0
        assert node.studies()[0].state == State.WAITING
        node.start()
        node.wait_for(1, 60)
    assert len(_reports(pacs)) == 1
