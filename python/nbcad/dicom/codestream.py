"""What a compressed frame says of its own size, so that no decoder is given one that lies."""

import struct

from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes, RLELossless

from nbcad.dicom.refusal import Refusal
from nbcad.dicom.types import StoredPixels
from nbcad.language.message import message

_RLE_HEADER = 64  # bytes: number of segments and 15 offsets (PS3.5 G.5)
_J2K_START = b"\xff\x4f\xff\x51"  # SOC and SIZ (ISO/IEC 15444-1 A.4, A.5.1)
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOFn of ISO/IEC 10918-1 B.1.1.3, SOF55 of 14495-1


def check(frame: bytes, pixels: StoredPixels) -> None:
    """Refuse a frame whose own header contradicts the object's.

    Raises:
        Refusal: size or samples differ, there is no header, or the transfer syntax is none that is read.
    """
    if pixels.transfer_syntax == RLELossless:
        _check_rle(frame, pixels.bits_allocated // 8)
        return
    if pixels.transfer_syntax in JPEG2000TransferSyntaxes:
        found = _j2k_size(frame)
    elif pixels.transfer_syntax in JPEGTransferSyntaxes + JPEGLSTransferSyntaxes:
        found = _jpeg_size(frame)
    else:
        raise Refusal(
            message("(0002,0010) Transfer Syntax UID is {value}, which is not read", value=pixels.transfer_syntax)
        )
    if found is None:
        raise Refusal(message("(7FE0,0010) Pixel Data has no codestream of its transfer syntax"))
    if found != (pixels.rows, pixels.columns, 1):
        rows, columns, samples = found
        raise Refusal(
            message(
                "(7FE0,0010) Pixel Data is compressed as {rows} rows, {columns} columns, {samples} samples a pixel; "
                "(0028,0010) Rows is {stored_rows}, (0028,0011) Columns is {stored_columns}",
                rows=rows,
                columns=columns,
                samples=samples,
                stored_rows=pixels.rows,
                stored_columns=pixels.columns,
            )
        )


def _check_rle(frame: bytes, segments: int) -> None:
    if len(frame) < _RLE_HEADER:
        raise Refusal(message("(7FE0,0010) Pixel Data has no RLE header"))
    found, *offsets = struct.unpack("<16L", frame[:_RLE_HEADER])
    starts = offsets[:segments]
    if found != segments or starts[0] != _RLE_HEADER or sorted({*starts}) != starts or starts[-1] >= len(frame):
        raise Refusal(
            message(
                "(7FE0,0010) Pixel Data has an RLE header of {segments} segments at {starts}",
                segments=found,
                starts=str(starts),
            )
        )


def _j2k_size(frame: bytes) -> tuple[int, int, int] | None:
    """Read rows, columns and components from the SIZ marker segment."""
    start = frame.find(_J2K_START)
    if start < 0 or len(frame) < start + 42:
        return None
    width, height, left, top = struct.unpack_from(">4L", frame, start + 8)
    (components,) = struct.unpack_from(">H", frame, start + 40)
    return height - top, width - left, components


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    """Read rows, columns and components from the frame header."""
    at = 2
    if frame[:2] != b"\xff\xd8":
        return None
    while at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker in _FRAME_HEADERS:
            rows, columns, components = struct.unpack_from(">HHB", frame, at + 5)
            return rows, columns, components
        at += 1 if marker == 0xFF else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None
