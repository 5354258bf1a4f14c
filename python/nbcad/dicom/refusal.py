"""Refusals of files and series, and what malformed DICOM makes libraries raise."""

import struct
import zipfile
import zlib

from pydicom.errors import BytesLengthException, InvalidDicomError

from nbcad.language.message import Message

# What pydicom, zipfile and zlib raise on files that are cut short, mislabelled or of an unknown encoding.
MALFORMED = (
    BytesLengthException, InvalidDicomError, ArithmeticError, AttributeError, EOFError, LookupError, MemoryError,
    OSError, RuntimeError, TypeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


class Refusal(Exception):
    """A file or one of its frames cannot be analysed."""

    def __init__(self, reason: Message):
        """Args: the reason, with tag and value."""
        super().__init__(reason)
        self.reason = reason


def one_line(error: Exception) -> str:
    """Return the text of an exception in at most 200 characters."""
    text = str(error).split("\n")[0] or type(error).__name__
    return text if len(text) < 200 else text[:197] + "..."
