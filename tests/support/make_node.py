"""A node's surroundings for tests: studies, senders and an archive, all in this process."""

import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, MRImageStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from make_archive import free_port
from make_dicom import mr_image
from nbcad.node.jobs import Jobs
from nbcad.node.study import Received, State, Study

TITLE, SENDER = "NBCAD", "SCANNER"
SENDERS = [f"SCANNER{n}" for n in range(4)]
QUIET_S = 3.0


def study(number: int, slices: int = 3, pixels: int = 48) -> list[Dataset]:
    """Axial T2 slices of patient ``number``, always the same."""
    rng = np.random.default_rng(number)
    elements = {
        "StudyInstanceUID": f"2.25.{number}", "SeriesInstanceUID": f"2.25.{number}1", "FrameOfReferenceUID": "2.25.77",
        "PatientID": f"SECRET-ID{number}", "PatientName": "SECRET^NAME",
    }  # fmt: skip
    images = [mr_image(rng.integers(0, 900, (pixels,) * 2), (0.0, 0.0, 5.0 * n), **elements) for n in range(slices)]
    for n, image in enumerate(images):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number}{n + 1000}"
    return images


def arrive(jobs: Jobs, image: Dataset, content: bytes = b"1", sender: str = SENDER):
    """Bring an object into a queue as the receiver does; returns its job and what it was."""
    path = jobs.incoming / "x"
    path.write_bytes(content)
    digest = hashlib.sha256(content).digest()
    return jobs.add(Received(path, image.StudyInstanceUID, image.SOPInstanceUID, digest, sender))


@contextmanager
def association(port: int, calling: str = SENDER, called: str = TITLE, syntax: str = ExplicitVRLittleEndian, **options):
    """An association with a node, established or not."""
    ae = AE(calling)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    contexts = [build_context("1.2.840.10008.1.1"), build_context(MRImageStorage, syntax)]
    contexts += [build_context(c) for c in (SecondaryCaptureImageStorage, Comprehensive3DSRStorage)]
    made = ae.associate("127.0.0.1", port, contexts, ae_title=called, **options)
    try:
        yield made
    finally:
        if made.is_established:
            made.release()


def store(made: Association, image: Dataset, data: bytes | None = None, sop_uid: str | None = None) -> int | None:
    """Send an object, or other bytes in its place; returns the status of the answer, None if there is none."""
    syntax = image.file_meta.TransferSyntaxUID
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = image.SOPClassUID, sop_uid or image.SOPInstanceUID
    encoded = encode(image, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
    request.DataSet = BytesIO(encoded if data is None else data)
    context = next(
        c for c in made.accepted_contexts if c.abstract_syntax == image.SOPClassUID and c.transfer_syntax[0] == syntax
    )
    made._reactor_checkpoint.clear()  # as `Association.send_c_store` does
    while not made._is_paused:
        time.sleep(0.001)
    try:
        made.dimse.send_msg(request, context.context_id)
        _, answer = made.dimse.get_msg(block=True)
    finally:
        made._reactor_checkpoint.set()
    return None if answer is None else answer.Status


class Archive:
    """A PACS that counts how often it got each object, and may answer with a failure."""

    def __init__(self):
        self.got: list[Dataset] = []
        self.answers: list[int] = []  # to the next objects; then success
        self.lock = threading.Lock()

    def handle(self, event: evt.Event) -> int:
        """Take an object."""
        with self.lock:
            answer = self.answers.pop(0) if self.answers else 0
            if answer == 0:
                dataset = event.dataset
                dataset.file_meta = event.file_meta
                self.got.append(dataset)
            return answer

    def uids(self) -> list[str]:
        """SOP Instance UIDs in the order in which they came."""
        return [dataset.SOPInstanceUID for dataset in self.got]


@contextmanager
def archive(port: int = 0, **options) -> Iterator[tuple[Archive, int]]:
    """A running archive and its port."""
    made = Archive()
    ae = AE("ARCHIVE")
    for sop_class in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage):
        ae.add_supported_context(sop_class)
    handlers = [(evt.EVT_C_STORE, made.handle)]
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, **options)
    try:
        yield made, server.server_address[1]
    finally:
        server.shutdown()


def results_in(folder: Path, study_uid: str, count: int = 2) -> list[Path]:
    """DICOM files that stand for a study's results."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        sop_class = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)[number % 2]
        image = mr_image(np.zeros((4, 4)), StudyInstanceUID=study_uid, SOPClassUID=sop_class)
        image.file_meta.MediaStorageSOPClassUID = sop_class
        paths.append(folder / f"{number:04d}.dcm")
        image.save_as(paths[-1], enforce_file_format=True)
    return paths


def raising(error: Exception):
    """Return a function that raises an error, whatever it is called with."""

    def call(*_):
        raise error

    return call


def study_in_analysis(queue: Jobs, number: int = 1):
    """A study whose analysis began."""
    arrive(queue, study(number)[0])
    queue.settle(0)
    return queue.take()


def study_with_results(queue: Jobs, number: int = 1, count: int = 2):
    """A study with results."""
    taken = study_in_analysis(queue, number)
    results = results_in(taken.folder / f"report-{taken.analyses}", taken.study_uid, count)
    assert queue.analysed(taken, results[0].parent, "L1", 3, results)
    return queue.study(taken.job)


class Running:
    """A node in a process of its own, its log and its queue."""

    def __init__(self, folder: Path, models: Path, port: int, archive_port: int, **receive):
        self.folder, self.port = folder / "node", port
        settings = {
            "port": port,
            "senders": [*SENDERS, SENDER, "ARCHIVE"],
            "quiet_s": QUIET_S,
            "reserve_mib": 0,
        }
        tables = {
            "receive": settings | receive,
            "analyse": {"models": str(models)},
            "pages": {"port": 0},
            "send": {"host": "127.0.0.1", "port": archive_port, "retry_s": 0.5},
        }
        lines = [f"folder = {json.dumps(str(self.folder))}"]
        for name, table in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        self.config, self.log = folder / "node.toml", folder / "node.log"
        self.config.write_text("\n".join(lines))
        self.start()

    def start(self) -> None:
        """Start the program and wait until it listens."""
        began = len(self.events("started"))
        with self.log.open("a") as log:
            command = [sys.executable, "tools/serve.py", "--config", self.config]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: len(self.events("started")) > began or self.process.poll() is not None, 120)
            assert self.process.poll() is None, self.log.read_text()
        except AssertionError:
            self.process.kill()
            self.process.wait()
            raise

    def end(self, how: int = signal.SIGTERM) -> int:
        """End the program; returns its exit code."""
        self.process.send_signal(how)
        return self.process.wait(60)

    def events(self, name: str) -> list[dict]:
        """Lines of its log; each line must be JSON and without patient data."""
        if not self.log.exists():
            return []
        text = self.log.read_text()
        assert "SECRET" not in text
        lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [line for line in lines if line["event"] == name]

    def studies(self) -> list[Study]:
        """What is in its queue."""
        with closing(Jobs(self.folder)) as queue:
            return queue.studies()

    def wait_for(self, count: int, seconds: float) -> list[Study]:
        """The studies, once so many of them are at their end."""
        ends = (State.DONE, State.SET_ASIDE)
        until(lambda: sum(s.state in ends for s in self.studies()) >= count or self.process.poll() is not None, seconds)
        return self.studies()


def until(true: Callable[[], bool], seconds: float) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not in {seconds} s"
        time.sleep(0.2)


@contextmanager
def running(folder: Path, models: Path, archive_port: int, **receive) -> Iterator[Running]:
    """A node that runs, and ends as it should."""
    node = Running(folder, models, receive.pop("port", None) or free_port(), archive_port, **receive)
    try:
        yield node
        assert node.end() == 0
        assert node.events("stopped") and node.events("defect") == []
    finally:
        node.process.kill()
        node.process.wait()
