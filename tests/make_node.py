"""A node's surroundings for tests: studies, senders and an archive, all in this process."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, MRImageStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from make_dicom import mr_image
from nbcad.node.jobs import Jobs, Received

TITLE, SENDER = "NBCAD", "SCANNER"


def study(number: int, slices: int = 3, pixels: int = 48) -> list[Dataset]:
    """Axial T2 slices of patient ``number``, always the same."""
    chance = np.random.default_rng(number)
    elements = {
        "StudyInstanceUID": f"2.25.{number}", "SeriesInstanceUID": f"2.25.{number}1", "FrameOfReferenceUID": "2.25.77",
        "PatientID": f"SECRET-ID{number}", "PatientName": "SECRET^NAME",
    }  # fmt: skip
    images = [mr_image(chance.integers(0, 900, (pixels,) * 2), (0.0, 0.0, 5.0 * n), **elements) for n in range(slices)]
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
