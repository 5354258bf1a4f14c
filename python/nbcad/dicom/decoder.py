"""Compressed frames are decoded by a process of their own: what a broken one does to a C library ends with it.

The process starts with the first compressed frame, keeps to the memory and the time that one file may take, and is
replaced when a frame has killed it.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import warnings
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from nbcad.dicom.refusal import MALFORMED, Refusal, one_line
from nbcad.dicom.sources import BYTES_A_FILE
from nbcad.dicom.types import StoredPixels
from nbcad.language.message import Message, message, verbatim
from nbcad.runtime.memory import limit_memory

_DECODED, _FAILED = b"\x00", b"\x01"  # first byte of an answer
COMMAND = "import sys; from nbcad.dicom.decoder import serve; serve(int(sys.argv[1]))"


class _Decoder:
    """The process and the line to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self.line = Connection(ours.detach())

    def close(self) -> int:
        """End the process, return its exit code."""
        self.line.close()
        return self.process.wait()


running: list[_Decoder] = []


def decode(frame: bytes, pixels: StoredPixels, seconds: float) -> np.ndarray:
    """Decode one compressed frame, shape (rows, columns), as stored.

    Raises:
        Refusal: it cannot be decoded, or not in ``seconds``.
    """
    if not running:
        running.append(_Decoder())
    decoder = running[0]
    try:
        decoder.line.send((frame, pixels, max(seconds, 0.01)))
        answer = decoder.line.recv_bytes()
    except (EOFError, OSError):
        running.clear()
        code = decoder.close()
        raise not_decoded(_how_ended(code, seconds)) from None
    if answer[:1] != _DECODED or len(answer) != 1 + pixels.frame_bytes:
        raise not_decoded(verbatim(answer[1:].decode(errors="replace")[:200]))
    return np.frombuffer(answer, _dtype(pixels), offset=1).reshape(pixels.rows, pixels.columns)


def not_decoded(reason: Message) -> Refusal:
    """Return the refusal of a frame for a reason that may come from a decoder."""
    return Refusal(message("(7FE0,0010) Pixel Data cannot be decoded: {reason}", reason=reason))


def _how_ended(code: int, seconds: float) -> Message:
    if code == -signal.SIGALRM:
        return message("more than {seconds} s", seconds=f"{seconds:.1f}")
    return message("its decoder ended with code {code}", code=code)


def _dtype(pixels: StoredPixels) -> np.dtype:
    """Return the dtype of the plain bytes that come back; a broken frame might have forged a pickle."""
    return np.dtype(f"<{'i' if pixels.signed else 'u'}{pixels.bits_allocated // 8}")


def decode_here(frame: bytes, pixels: StoredPixels) -> np.ndarray:
    """Decode one frame in this process, shape (rows, columns), as stored.

    Raises:
        MALFORMED: what pydicom and its plug-ins raise.
    """
    options: dict[str, Any] = {
        "rows": pixels.rows,
        "columns": pixels.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_representation": int(pixels.signed),
        "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored,
        "pixel_keyword": "PixelData",
        "pixel_vr": "OW" if pixels.ow else "OB",
    }
    encoded = encapsulate([frame], has_bot=False) if pixels.encapsulated else frame
    return get_decoder(pixels.transfer_syntax).as_array(encoded, **options)[0]


def serve(line: int) -> None:
    """Decode what comes down the line until its other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other end decides
    warnings.simplefilter("ignore")
    limit_memory(BYTES_A_FILE, for_good=True)
    with Connection(line) as connection:
        while True:
            try:
                frame, pixels, seconds = connection.recv()
            except EOFError:
                return
            signal.setitimer(signal.ITIMER_REAL, seconds)  # its default action ends the process, wherever it is
            try:
                answer = _DECODED + decode_here(frame, pixels).astype(_dtype(pixels), casting="equiv").tobytes()
            except MALFORMED as error:
                answer = _FAILED + one_line(error).encode()
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send_bytes(answer)


@atexit.register
def _close() -> None:
    while running:
        running.pop().close()


def _leave_to_parent() -> None:
    """After a fork the process and the line to it are the parent's alone."""
    for decoder in running:
        decoder.line.close()
        decoder.process.returncode = 0  # as far as this process is concerned
    running.clear()


os.register_at_fork(after_in_child=_leave_to_parent)
