"""The receiver: what is taken is on disk before success is said; nobody holds it up."""

import contextlib
import dataclasses
import errno
import resource
import socket
import sqlite3
import ssl
import time
from collections import namedtuple
from contextlib import closing

import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from make_dicom import as_stored
from make_node import (
    SENDER,
    association,
    raising,
    store,
    study,
)
from nbcad.dicom import read_archive
from nbcad.errors import InputError
from nbcad.node import receiver
from nbcad.node.association import refusing_long_pdus
from nbcad.node.config import Receive, Tls
from nbcad.node.jobs import Jobs
from nbcad.node.receiver import NO_MATCH, NOT_UNDERSTOOD, OUT_OF_RESOURCES, SUCCESS, Receiver
from nbcad.node.tls import server_tls

PLAIN = Tls()
SETTINGS = Receive(port=0, senders=(SENDER, "OTHER"), quiet_s=0.0, reserve_mib=0, timeout_s=5.0)
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.usefixtures("sockets_of_pynetdicom"),
]


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
def test_object_in_any_transfer_syntax_is_kept_as_it_came(queue, port, syntax):
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


def test_object_unlike_its_command_or_unreadable_is_refused(queue, port):
    image = study(1)[0]
    nameless = study(2)[0]
    del nameless.StudyInstanceUID
    with association(port) as made:
        assert store(made, image, sop_uid="2.25.9") == NO_MATCH
        assert store(made, nameless) == NOT_UNDERSTOOD
        assert store(made, image, data=b"\x00" * 50) in (NO_MATCH, NOT_UNDERSTOOD)
        assert store(made, image) == SUCCESS
    assert queue.study(1).objects == 1 and list(queue.incoming.iterdir()) == []


def test_full_disk_is_answered_with_out_of_resources_and_leaves_nothing(queue, port, monkeypatch):
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
                patch.setattr(queue, "add", raising(error))
                assert store(made, image) == OUT_OF_RESOURCES
        assert queue.studies() == [] and list(queue.incoming.iterdir()) == []
        assert store(made, image) == SUCCESS


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
    bounded = refusing_long_pdus(lambda count: read.append(count) or bytearray())
    bounded(6)
    with pytest.raises(OSError):  # by which pynetdicom ends the connection
        bounded(0xFFFFFFFF)
    assert read == [6]


def test_tls_lets_only_certificates_in_and_waits_for_no_silent_peer(queue, certificates):
    with _receiving(queue, certificates, timeout_s=2.0) as port:
        with socket.create_connection(("127.0.0.1", port)), association(port) as plain:
            assert not plain.is_established
        with socket.create_connection(("127.0.0.1", port)):  # says nothing
            context = ssl.create_default_context(cafile=certificates.ca)
            with association(port, tls_args=(context, "127.0.0.1")) as unknown:
                assert not unknown.is_established
            context.load_cert_chain(certificates.certificate, certificates.key)
            with association(port, tls_args=(context, "127.0.0.1")) as made:
                assert store(made, study(1)[0]) == SUCCESS


def test_certificate_that_cannot_be_read_is_an_error():
    with pytest.raises(InputError, match="cannot be used"):
        server_tls(Tls("none", "none", ""))
