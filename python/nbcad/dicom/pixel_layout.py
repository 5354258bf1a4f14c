"""The place and the layout of a file's pixels; a layout that is impossible is refused by tag and value."""

from typing import Any

from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from nbcad.dicom.refusal import Refusal
from nbcad.dicom.sources import BYTES_A_FILE
from nbcad.dicom.types import StoredPixels
from nbcad.language.message import message
from nbcad.language.terms import term

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_UNDEFINED = 0xFFFFFFFF  # length of what is encapsulated
# One frame is decoded at a time: stored, decoded, rescaled as float64; all frames of the file are kept as float32.
_BYTES_A_PIXEL, _BYTES_A_PIXEL_KEPT = 16, 4
_MOST_FRAMES = 65_536


def stored_pixels(dataset: FileDataset, values: dict[str, Any], vr: str | None, offset: int) -> StoredPixels:
    """Return the place and the layout of a file's pixels, after checking their size before any of them is read.

    Args:
        dataset: the header.
        values: of the header, by keyword.
        vr: of (7FE0,0010) Pixel Data; None where the header does not state it.
        offset: of that element in the file.

    Raises:
        Refusal: they cannot be read, or would take more than one file may; nothing of them is read for that.
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    implicit, little_endian = dataset.original_encoding
    if syntax is None:  # what `read_partial` found instead
        explicit = ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian
        syntax = ImplicitVRLittleEndian if implicit else explicit
    rows, columns, frames = _size(values)
    allocated, stored, representation = _pixel_format(values)
    offsets, lengths = values.get("ExtendedOffsetTable"), values.get("ExtendedOffsetTableLengths")
    return StoredPixels(
        transfer_syntax=str(syntax),
        offset=offset + (12 if vr in EXPLICIT_VR_LENGTH_32 else 8),  # PS3.5 7.1.2, 7.1.3
        encapsulated=syntax not in _NATIVE,
        rows=rows,
        columns=columns,
        frames=frames,
        bits_allocated=allocated,
        bits_stored=stored,
        signed=representation == 1,
        inverted=values["PhotometricInterpretation"] == "MONOCHROME1",
        ow=vr == "OW",
        frame_offsets=(offsets, lengths) if offsets and lengths else None,
    )


def _size(values: dict[str, Any]) -> tuple[int, int, int]:
    """Return rows, columns and frames."""
    rows, columns, frames = int(values["Rows"]), int(values["Columns"]), int(values.get("NumberOfFrames") or 1)
    if frames < 1 or (frames > 1 and values["SOPClassUID"] == MRImageStorage):
        raise Refusal(
            message(
                "(0028,0008) Number of Frames is {count} in an object of {name}",
                count=frames,
                name=values["SOPClassUID"].name,
            )
        )
    if frames > _MOST_FRAMES:
        raise Refusal(
            message(
                "(0028,0008) Number of Frames is {count}; at most {most} are read from one file",
                count=frames,
                most=_MOST_FRAMES,
            )
        )
    needed = rows * columns * (_BYTES_A_PIXEL + frames * _BYTES_A_PIXEL_KEPT)
    if needed > BYTES_A_FILE:
        raise Refusal(
            message(
                "(0028,0010) Rows {rows}, (0028,0011) Columns {columns}, (0028,0008) Number of Frames {frames} would "
                "take {size} GiB; at most {most} GiB are read from one file",
                rows=rows,
                columns=columns,
                frames=frames,
                size=f"{needed / 2**30:.1f}",
                most=BYTES_A_FILE >> 30,
            )
        )
    return rows, columns, frames


def _pixel_format(values: dict[str, Any]) -> tuple[int, int, int]:
    """Return bits allocated, bits stored and pixel representation (PS3.3 C.7.6.3.1)."""
    allocated, representation = values.get("BitsAllocated") or 0, values.get("PixelRepresentation")
    stored = values.get("BitsStored") or allocated
    if allocated not in (8, 16, 32):
        raise Refusal(
            message(
                "(0028,0100) Bits Allocated is {value}, not 8, 16 or 32",
                value=str(allocated) if allocated else term("missing"),
            )
        )
    if not 0 < int(stored) <= allocated:
        raise Refusal(
            message(
                "(0028,0101) Bits Stored is {value} of (0028,0100) Bits Allocated {allocated}",
                value=str(stored),
                allocated=str(allocated),
            )
        )
    if representation not in (0, 1):
        found = term("missing") if representation is None else str(representation)
        raise Refusal(message("(0028,0103) Pixel Representation is {value}, not 0 or 1", value=found))
    return allocated, int(stored), representation


def check_length(pixels: StoredPixels, length: int, size: int) -> None:
    """Refuse pixels that the file does not hold, or that are encapsulated where they should not be.

    Args:
        pixels: of `stored_pixels`.
        length: of (7FE0,0010) Pixel Data, as its element states it.
        size: of the file in bytes.

    Raises:
        Refusal: the file lacks some of them.
    """
    if pixels.encapsulated != (length == _UNDEFINED):
        name = UID(pixels.transfer_syntax).name
        raise Refusal(
            message(
                "(7FE0,0010) Pixel Data is not encapsulated, yet (0002,0010) Transfer Syntax UID is {name}", name=name
            )
            if pixels.encapsulated
            else message(
                "(7FE0,0010) Pixel Data is encapsulated, yet (0002,0010) Transfer Syntax UID is {name}", name=name
            )
        )
    needed = pixels.frame_bytes * pixels.frames
    there = min(length, size - pixels.offset)
    if not pixels.encapsulated and there < needed:
        raise Refusal(
            message(
                "(7FE0,0010) Pixel Data is cut short: {found} of {needed} bytes", found=max(0, there), needed=needed
            )
        )
