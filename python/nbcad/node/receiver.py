"""Objects in: a C-STORE and C-ECHO SCP (DICOM PS3.4 A, B).

It says success only of an object that is on disk and in the queue. `association` bounds what a peer can make it hold.
"""

import hashlib
import io
import os
import shutil
import sqlite3
import threading
import time
import uuid
from pathlib import Path
from typing import BinaryIO, cast

from pydicom import uid
from pydicom.filereader import read_partial
from pydicom.tag import Tag
from pynetdicom import evt, register_uid
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.service_class import StorageServiceClass

from nbcad import NAME
from nbcad.dicom import FileRecord, Source
from nbcad.dicom.header import without_deflation
from nbcad.dicom.refusal import MALFORMED, Refusal
from nbcad.dicom.sources import HEADER_BYTES, HEADER_READS
from nbcad.node import log, metrics
from nbcad.node.association import Bounded, Entity, Handler, Server
from nbcad.node.config import Receive, Tls
from nbcad.node.jobs import Jobs
from nbcad.node.study import Received
from nbcad.node.tls import server_tls

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

_PDU = 128 << 10  # bytes that peers are asked to keep to; `association` takes more
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
        ae = Entity(settings.ae_title)
        ae.require_called_aet = True
        ae.require_calling_aet = list(settings.senders)
        ae.maximum_associations = settings.max_associations
        ae.maximum_pdu_size = _PDU
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = settings.timeout_s
        ae.add_supported_context(_VERIFICATION)
        for sop_class in CLASSES:
            ae.add_supported_context(sop_class, list(SYNTAXES))
        self._server = Server(
            ae,
            (settings.bind, settings.port),
            settings.ae_title,
            ae.supported_contexts,
            ssl_context=server_tls(tls),
            evt_handlers=[(evt.EVT_C_STORE, self._store), (evt.EVT_REJECTED, _rejected)],
            request_handler=Handler,
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
        data = cast(Bounded, request.DataSet)
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
