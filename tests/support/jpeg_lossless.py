"""A JPEG lossless encoder for tests (ISO/IEC 10918-1 H, predictor 1): none of the installed libraries writes it."""

import struct

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1

_CODE_BITS = 5  # one length for all 17 categories of differences


def encode(pixels: np.ndarray) -> bytes:
    """One frame of uint16 pixels, shape (rows, columns), as a codestream of 16 bits a pixel."""
    rows, columns = pixels.shape
    header = struct.pack(">BHHBBBB", 16, rows, columns, 1, 1, 0x11, 0)
    table = bytes([0, *(17 if length == _CODE_BITS else 0 for length in range(1, 17)), *range(17)])
    scan = bytes([1, 1, 0, 1, 0, 0])  # component 1, table 0, predictor 1, no point transform
    segments = b"".join(
        b"\xff" + marker + struct.pack(">H", len(body) + 2) + body
        for marker, body in ((b"\xc3", header), (b"\xc4", table), (b"\xda", scan))
    )
    return b"\xff\xd8" + segments + _entropy_coded(pixels) + b"\xff\xd9"


def _entropy_coded(pixels: np.ndarray) -> bytes:
    predicted = np.empty(pixels.shape, int)
    predicted[:, 1:] = pixels[:, :-1]
    predicted[1:, 0] = pixels[:-1, 0]
    predicted[0, 0] = 1 << 15
    bits = []
    for difference in ((pixels.astype(int) - predicted + (1 << 15)) % (1 << 16) - (1 << 15)).flat:
        category = int(abs(difference)).bit_length()
        bits.append(f"{category:0{_CODE_BITS}b}")
        if 0 < category < 16:
            bits.append(f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")


def compress(dataset: Dataset) -> None:
    """Compress a single-frame image of 16 bits in place."""
    pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    dataset.PixelData = encapsulate([encode(pixels)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
