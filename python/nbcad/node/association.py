"""Associations with peers, within bounds that no peer can exceed.

What a peer can make the node hold in memory is bounded: by the length of a PDU, of a command and of an object, and by
how many peers there are at once. A connection that is silent, or talks no DICOM, is closed.
"""

import io
import socket
import socketserver
import sys
from collections.abc import Callable
from typing import Any, cast

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from nbcad.dicom.refusal import MALFORMED
from nbcad.node import log

_MOST_PDU = 1 << 20  # bytes; of what a peer may announce
_MOST_COMMAND = 64 << 10
_MOST_WAITING = 2  # messages of one peer; one that waits for its answers, as it must, has one
_MOST_SILENT = 100  # connections beyond the associations


class Entity(AE):
    """An application entity in which connections that have not requested anything yet do not count as associations."""

    @property
    def active_associations(self) -> list[Association]:
        """Those that count against the most that may be."""
        return [each for each in super().active_associations if each.requestor.primitive is not None]


class Server(ThreadedAssociationServer):
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


class Handler(RequestHandler):
    """Makes associations that hold no more in memory than they may."""

    server: Server

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
            self.message.encoded_command_set = Bounded(_MOST_COMMAND)
            self.message.data_set = Bounded(self._most_bytes)
        try:
            if self.msg_queue.qsize() > _MOST_WAITING:
                raise ValueError("more messages than answers")
            super().receive_primitive(primitive)
        except MALFORMED:
            self.dul.event_queue.put("Evt19")  # invalid PDU (PS3.8 9.2): the association is aborted


class Bounded(io.BytesIO):
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
