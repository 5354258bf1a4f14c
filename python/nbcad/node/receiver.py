"""Objects in: a C-STORE and C-ECHO SCP (DICOM PS3.4 A, B) that says success only of what is on disk and in the queue.

What a peer can make it hold in memory is bounded: by the length of a PDU, of a command and of an object, and by how
many peers there are at once. A connection that is silent, or talks no DICOM, is closed.
"""

import hashlib
import io
import os
import shutil
import socket
import socketserver
import sqlite3
import ssl
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydicom import uid
from pydicom.filereader import read_partial
from pydicom.tag import Tag
from pynetdicom import AE, evt, register_uid
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.pdu_primitives import A_ASSOCIATE, P_DATA
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from nbcad import NAME
from nbcad.dicom import FileRecord, Source
from nbcad.dicom.header import without_deflation
from nbcad.dicom.refusal import MALFORMED, Refusal
from nbcad.dicom.sources import HEADER_BYTES, HEADER_READS
from nbcad.errors import InputError
from nbcad.node import log, metrics
from nbcad.node.config import Receive, Tls
from nbcad.node.jobs import Jobs
from nbcad.node.study import Received

SUCCESS, OUT_OF_RESOURCES, NO_MATCH, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000  # PS3.4 B.2.3

_VERIFICATION = "1.2.840.10008.1.1"
_SIEMENS_NON_IMAGE = "1.3.12.2.1107.5.9.1"  # of a scanner's studies; private
# What an MR study in an archive holds. Only the first two are analysed, but a sender that may not send one of the
# others takes the whole study for lost.
CLASSES = (
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.EnhancedMRColorImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.MRSpectroscopyStorage,
    uid.RawDataStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.SegmentationStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.EncapsulatedPDFStorage,
    _SIEMENS_NON_IMAGE,
)
# What `nbcad.dicom` decodes.
SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
)

_MOST_PDU = 1 << 20  # bytes; of what a peer may announce. The node itself asks for smaller ones:
_PDU = 128 << 10
_MOST_COMMAND = 64 << 10
_MOST_WAITING = 2  # messages of one peer; one that waits for its answers, as it must, has one
_MOST_SILENT = 100  # connections beyond the associations
_STUDY_UID = 0x0020000D
_IDENTIFYING = ("SOPClassUID", "SOPInstanceUID", "Manufacturer", "StudyInstanceUID")
_TAGS = [int(Tag(keyword)) for keyword in _IDENTIFYING]

register_uid(_SIEMENS_NON_IMAGE, "SiemensCSANonImageStorage", StorageServiceClass)


class _Refused(Exception):
    """An object is not taken."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


class Receiver:
    """The server and what it does with an object."""

    def __init__(self, settings: Receive, tls: Tls, jobs: Jobs):
        """Listen; `start` lets peers in.

        Raises:
            InputError: the certificates cannot be used.
            OSError: the address cannot be listened on.
        """
        self._jobs, self._settings = jobs, settings
        self._pace = _Pace(settings.max_objects_per_s)
        ae = _Entity(settings.ae_title)
        ae.require_called_aet = True
        ae.require_calling_aet = list(settings.senders)
        ae.maximum_associations = settings.max_associations
        ae.maximum_pdu_size = _PDU
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = settings.timeout_s
        ae.add_supported_context(_VERIFICATION)
        for sop_class in CLASSES:
            ae.add_supported_context(sop_class, list(SYNTAXES))
        self._server = _Server(
            ae,
            (settings.bind, settings.port),
            settings.ae_title,
            ae.supported_contexts,
            ssl_context=server_tls(tls),
            evt_handlers=[(evt.EVT_C_STORE, self._store), (evt.EVT_REJECTED, _rejected)],
            request_handler=_Handler,
        )
        self._server.most_bytes = settings.max_object_mib << 20
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port of the listening socket."""
        return self._server.server_address[:2]

    @property
    def alive(self) -> bool:
        """Return whether peers are let in."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Let peers in."""
        self._thread.start()

    def stop(self) -> None:
        """Let nobody in any more and end the associations; an object that is not acknowledged yet is sent again."""
        self._server.shutdown()
        for association in self._server.active_associations:
            association.abort()
            association.join(self._settings.timeout_s)

    def _store(self, event: evt.Event) -> int:
        """Answer a C-STORE request by its status."""
        status = self._answer(event, event.assoc.requestor.ae_title)
        event.assoc.dul._idle_timer.restart()  # the time that this took is no silence of the peer
        return status

    def _answer(self, event: evt.Event, sender: str) -> int:
        self._pace.wait(sender)
        try:
            return self._keep(event, sender)
        except _Refused as refused:
            status, reason = refused.status, refused.reason
        except (OSError, sqlite3.Error) as error:  # of which a full disk is the usual one
            status, reason = OUT_OF_RESOURCES, f"it cannot be written: {error}"
        log.warn("object refused", sender=sender, status=f"{status:04X}", reason=reason)
        return status

    def _keep(self, event: evt.Event, sender: str) -> int:
        """Bring an object to disk and into the queue.

        Raises:
            _Refused: it is not taken.
            OSError, sqlite3.Error: it could not be written.
        """
        request = cast(C_STORE, event.request)
        data = cast(_Bounded, request.DataSet)
        if data.exceeded:
            raise _Refused(OUT_OF_RESOURCES, f"it is larger than {self._settings.max_object_mib} MiB")
        reserve = self._settings.reserve_mib << 20
        if shutil.disk_usage(self._jobs.folder).free < reserve + len(data.getbuffer()):
            raise _Refused(OUT_OF_RESOURCES, "the disk is full")
        path = self._jobs.incoming / uuid.uuid4().hex
        try:
            with path.open("wb") as file:
                file.write(bytes(128) + b"DICM" + encode_file_meta(event.file_meta))
                file.write(data.getbuffer())
                found = _identity(path, file)
                wanted = request.AffectedSOPClassUID, request.AffectedSOPInstanceUID
                if (found["SOPClassUID"], found["SOPInstanceUID"]) != wanted:
                    raise _Refused(NO_MATCH, "it is another object than the command says")
                if not found["StudyInstanceUID"]:
                    raise _Refused(NOT_UNDERSTOOD, "(0020,000D) Study Instance UID is missing")
                if found["Manufacturer"] == NAME:  # an archive that hands on all that it gets: kept, it would go round
                    return SUCCESS
                os.fsync(file.fileno())
            digest = hashlib.sha256(data.getbuffer()).digest()
            self._jobs.add(Received(path, found["StudyInstanceUID"], found["SOPInstanceUID"], digest, sender))
            metrics.OBJECTS_RECEIVED.inc()
            log.debug("object received", sender=sender, bytes=len(data.getbuffer()))
        finally:
            path.unlink(missing_ok=True)
        return SUCCESS


def server_tls(files: Tls) -> ssl.SSLContext | None:
    """Return the TLS context for peers; None without a certificate.

    Raises:
        InputError: the files cannot be used.
    """
    if not files.certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_certificates(context, files)
    if files.ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def load_certificates(context: ssl.SSLContext, files: Tls) -> None:
    """Give a context the certificate, its key and the authorities that are set.

    Raises:
        InputError: the files cannot be used.
    """
    try:
        if files.certificate:
            context.load_cert_chain(files.certificate, files.key)
        if files.ca:
            context.load_verify_locations(files.ca)
    except OSError as error:  # ssl.SSLError is one
        raise InputError(f"[tls]: certificate, key or ca cannot be used: {error}") from error


def _identity(path: Path, file: io.BufferedWriter) -> dict[str, str]:
    """Return the identifying elements of an object, by keyword, from the file it was just written to.

    Raises:
        _Refused: it cannot be read.
    """
    file.flush()
    try:
        with FileRecord(str(path)).budget(HEADER_BYTES, HEADER_READS) as budget, Source(path).open(budget) as source:
            plain = cast(BinaryIO, without_deflation(source))
            header = read_partial(plain, lambda tag, *_: int(tag) > _STUDY_UID, specific_tags=_TAGS)
        return {keyword: str(header.get(keyword) or "").strip() for keyword in _IDENTIFYING}
    except (Refusal, *MALFORMED) as error:
        raise _Refused(NOT_UNDERSTOOD, f"it cannot be read: {type(error).__name__}") from error


def _rejected(event: evt.Event) -> None:
    request = cast(A_ASSOCIATE, event.assoc.requestor.primitive)
    metrics.ASSOCIATIONS_REFUSED.inc()
    log.warn(
        "association rejected",
        calling=request.calling_ae_title,
        called=request.called_ae_title,
        address=event.assoc.requestor.address,
    )


class _Pace:
    """Holds each sender to so many objects a second."""

    def __init__(self, per_s: float):
        self._step = 1 / per_s
        self._next: dict[str, float] = {}  # by sender, when its next object may be taken
        self._lock = threading.Lock()

    def wait(self, sender: str) -> None:
        """Wait until it is the sender's turn."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next.get(sender, now))
            self._next[sender] = turn + self._step
        time.sleep(turn - now)


class _Entity(AE):
    """An application entity in which connections that have not requested anything yet do not count as associations."""

    @property
    def active_associations(self) -> list[Association]:
        """Those that count against the most that may be."""
        return [each for each in super().active_associations if each.requestor.primitive is not None]


class _Server(ThreadedAssociationServer):
    """An association server in which a slow peer cannot hold up the others."""

    daemon_threads = True
    most_bytes: int  # of an object

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; the TLS handshake, which waits for the peer, is left to the connection's thread."""
        return cast(socket.socket, self.socket).accept()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether there is room for another connection."""
        return len(self.active_associations) < self.ae.maximum_associations + _MOST_SILENT

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, in its own thread."""
        request.settimeout(self.ae.network_timeout)
        if self.ssl_context:
            request = self.ssl_context.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log why a connection could not be served."""
        log.warn("connection closed", address=client_address[0], reason=type(sys.exc_info()[1]).__name__)

    def shutdown(self) -> None:
        """Let nobody in any more."""
        socketserver.BaseServer.shutdown(self)  # pynetdicom's expects that the server was made by `AE.start_server`
        self.server_close()


class _Handler(RequestHandler):
    """Makes associations that hold no more in memory than they may."""

    server: _Server

    def _create_association(self) -> Association:
        association = super()._create_association()
        connection = association.dul.socket
        assert connection is not None
        connection.recv = refusing_long_pdus(connection.recv)  # type: ignore[assignment,method-assign]
        association.dimse = _BoundedDimse(association, self.server.most_bytes)
        return association


def refusing_long_pdus(receive: Callable[[int], bytearray]) -> Callable[[int], bytearray]:
    """Return ``receive`` as a function that ends the connection before it reads a PDU longer than any sound one."""

    def bounded(count: int) -> bytearray:
        if count > _MOST_PDU:
            raise ConnectionError(f"a PDU of {count} bytes")
        return receive(count)

    return bounded


class _BoundedDimse(DIMSEServiceProvider):
    """Puts messages together within bounds; a malformed one ends its association."""

    def __init__(self, association: Association, most_bytes: int):
        super().__init__(association)
        self._most_bytes = most_bytes

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a part of a message."""
        if self.message is None:
            self.message = DIMSEMessage()
            self.message.encoded_command_set = _Bounded(_MOST_COMMAND)
            self.message.data_set = _Bounded(self._most_bytes)
        try:
            if self.msg_queue.qsize() > _MOST_WAITING:
                raise ValueError("more messages than answers")
            super().receive_primitive(primitive)
        except MALFORMED:
            self.dul.event_queue.put("Evt19")  # invalid PDU (PS3.8 9.2): the association is aborted


class _Bounded(io.BytesIO):
    """Bytes in memory up to a number; of more, nothing is kept."""

    def __init__(self, most: int):
        super().__init__()
        self._most = most
        self.exceeded = False

    def write(self, data: Any) -> int:
        """Append bytes."""
        if self.exceeded or self.tell() + len(data) > self._most:
            self.exceeded = True
            self.seek(0)
            self.truncate()
            return len(data)
        return super().write(data)
