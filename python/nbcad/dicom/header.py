"""The header of one file: what is no MR image, or none whose pixels can be there, is refused by tag and value."""

import io
import zlib
from functools import lru_cache
from typing import Any, BinaryIO

from pydicom.datadict import dictionary_description
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    UID_dictionary,
)

from nbcad import NAME
from nbcad.dicom import private
from nbcad.dicom.pixel_layout import check_length, stored_pixels
from nbcad.dicom.refusal import MALFORMED, Refusal, one_line
from nbcad.dicom.sources import BYTES_A_FILE, BoundedFile, as_binary_io, in_memory
from nbcad.dicom.types import StoredPixels
from nbcad.dicom.weighting import image_types
from nbcad.language.message import Message, Value, message
from nbcad.language.terms import term

_DIRECTORY = "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity"
_SEQUENCES = (
    "ModalityLUTSequence", "RealWorldValueMappingSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
_VALUES = (
    _DIRECTORY,
    "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate", "Modality", "Manufacturer", "SeriesDescription",
    "ProtocolName", "SequenceName", "PulseSequenceName", "EchoPulseSequence", "EchoPlanarPulseSequence",
    "AcquisitionContrast", "ComplexImageComponent",
    "PatientID", "PatientBirthDate", "PatientAge", "ScanningSequence", "RepetitionTime", "EchoTime", "TriggerTime",
    "DiffusionBValue", "DiffusionGradientOrientation", "StudyInstanceUID", "SeriesInstanceUID", "AcquisitionNumber",
    "InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID",
    "TemporalPositionIdentifier",
    "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "PixelSpacing",
    "BitsAllocated", "BitsStored", "PixelRepresentation", "QualityControlImage", "RescaleIntercept", "RescaleSlope",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip
# An image can do without these: what cannot be read of them is not known.
_NOT_NEEDED = {
    "StudyDate", "Manufacturer", "SeriesDescription", "PatientBirthDate", "PatientAge", "ScanningSequence",
    "RepetitionTime", "EchoTime", "TriggerTime", "DiffusionGradientOrientation", "AcquisitionNumber", "InstanceNumber",
    "TemporalPositionIdentifier", "QualityControlImage", "FrameOfReferenceUID", "ProtocolName", "SequenceName",
    "PulseSequenceName", "EchoPulseSequence", "EchoPlanarPulseSequence", "ComplexImageComponent",
}  # fmt: skip
_KEYWORD_OF = {int(Tag(keyword)): keyword for keyword in _VALUES}
_TAGS: list[BaseTag | int] = [*_KEYWORD_OF, *(int(Tag(keyword)) for keyword in _SEQUENCES), *private.TAGS]
_PIXEL_DATA = 0x7FE00010
_FIRST_PIXELS = 0x7FE00008  # (7FE0,0008) Float Pixel Data; the offset tables before it belong to the header
MOST_HEADERS = 64 << 10  # bytes that hold most of them
_SHORT = 256  # bytes of a value that is kept for the next file
_NEEDED = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Rows", "Columns")
LARGEST_INFLATED = BYTES_A_FILE // 4
# (0002,0010) Transfer Syntax UID: Explicit VR Little Endian, as it is encoded in a file's meta information
_PLAIN_META = b"\x02\x00\x10\x00UI\x14\x00" + ExplicitVRLittleEndian.encode().ljust(20, b"\x00")
_ZIP = b"PK\x03\x04"
# First bytes of a data set without preamble: group 0002 or 0008, in either byte order.
_FIRST_GROUPS = (b"\x02\x00", b"\x00\x02", b"\x08\x00", b"\x00\x08")


# Values of a header by keyword; a sequence stays in the data set, to be read by `functional_groups.items`.
Values = dict[str, Any]


class Ignored(Exception):
    """The file is none that holds images."""

    def __init__(self, reason: Message):
        """Args: the kind of file it is instead."""
        super().__init__(reason)
        self.reason = reason


def without_deflation(file: BoundedFile) -> BoundedFile:
    """Return the file, or an inflated copy in memory if its data set is deflated (PS3.5 A.5).

    Raises:
        Refusal: it would inflate to more than a quarter of what one file may take.
    """
    head = file.read(1024)
    file.seek(0)
    if head[128:132] != b"DICM" or DeflatedExplicitVRLittleEndian.encode() not in head:
        return file
    file.seek(132)
    meta = read_dataset(as_binary_io(file), False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        file.seek(0)
        return file
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(file.read(), LARGEST_INFLATED)
    if inflater.unconsumed_tail:
        raise Refusal(
            message(
                "(0002,0010) Transfer Syntax UID is deflated, and inflates to more than {count} bytes",
                count=LARGEST_INFLATED,
            )
        )
    return in_memory(bytes(128) + b"DICM" + _PLAIN_META + data, file.budget)


def parse(file: BoundedFile) -> tuple[FileDataset, Values, StoredPixels]:
    """Data set, header values and pixel description of an MR image.

    Raises:
        InvalidDicomError: it is no DICOM file.
        Ignored: it is one, but none that holds images.
        Refusal: it is none that can be analysed.
    """
    head = file.read(MOST_HEADERS)
    if head.startswith(_ZIP):
        raise Ignored(message("a zip within the input is not opened; give it by itself"))
    preamble = head[128:132] == b"DICM"
    if not preamble and head[:2] not in _FIRST_GROUPS:
        raise InvalidDicomError
    try:
        dataset, found, offset = _parse_head(head) or _up_to_pixels(
            as_binary_io(_Plain(file.raw, file.size, file.budget))
        )
        values = _values(dataset)
    except (Refusal, *MALFORMED) as error:
        if not preamble:  # what has none is a DICOM file only if it can be read as one
            raise InvalidDicomError from error
        raise
    _refuse_other_objects(dataset, values, preamble)
    tag, vr, length = found
    if tag != _PIXEL_DATA:
        raise Refusal(message("{element} is missing", element=named("PixelData")))
    pixels = stored_pixels(dataset, values, vr, offset)
    check_length(pixels, length, file.size)
    return dataset, values, pixels


class _Plain(BoundedFile):
    """A file that pydicom must not inflate, as it does so without a bound; only then does it read all that is left."""

    def read(self, count: int = -1) -> bytes:
        if count < 0:
            raise Refusal(
                message("(0002,0010) Transfer Syntax UID is deflated, and not at the place where files have it")
            )
        return super().read(count)


# The first element from the pixels on: tag, VR, length; tag 0 if there is none.
_Found = tuple[int, str | None, int]


def _parse_head(head: bytes) -> tuple[FileDataset, _Found, int] | None:
    """Return the result of `_up_to_pixels`, or None if the pixels begin later or the header is malformed.

    pydicom reads in small pieces: from memory much faster than from a file, whose every piece is counted. What so few
    bytes hold needs no further bound, unless they are inflated.
    """
    if DeflatedExplicitVRLittleEndian.encode() in head:
        return None
    try:
        dataset, found, offset = _up_to_pixels(io.BytesIO(head))
    except MALFORMED:
        return None
    return (dataset, found, offset) if found[0] else None


def _up_to_pixels(file: BinaryIO) -> tuple[FileDataset, _Found, int]:
    """Return the data set before the pixels, the element they begin with, and its place in the file."""
    found: list[_Found] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if int(tag) >= _FIRST_PIXELS:
            found.append((int(tag), vr, length))
        return bool(found)

    file.seek(0)
    dataset = read_partial(file, at_pixels, force=True, specific_tags=_TAGS)
    return dataset, found[0] if found else (0, None, 0), file.tell()


def _values(dataset: FileDataset) -> Values:
    """Return all values at once: each look-up by keyword in a data set of pydicom takes longer than reading it."""
    values = {}
    character_set = dataset.original_character_set
    encodings = (character_set,) if isinstance(character_set, str) else tuple(character_set)
    for element in dataset.values():  # not converted yet
        keyword = _KEYWORD_OF.get(element.tag)
        if keyword is None:
            continue
        try:
            values[keyword] = _value(element, encodings)
        except MALFORMED as error:
            if keyword not in _NOT_NEEDED:
                raise Refusal(
                    message("{element} cannot be read: {error}", element=named(keyword), error=one_line(error))
                ) from error
    if values.get("DiffusionBValue") is None:
        values["DiffusionBValue"] = private.b_value(dataset)
    return values


def _value(element: RawDataElement | DataElement, encodings: tuple[str, ...]) -> Any:
    """Return an element's value as pydicom gives it; the VR of `_VALUES` never depends on other elements."""
    if isinstance(element, DataElement):
        return element.value
    if element.value is None or len(element.value) > _SHORT:
        return convert_raw_data_element(element, encoding=list(encodings)).value
    return _short_value(element._replace(value_tell=0), encodings)


@lru_cache(maxsize=256)
def _short_value(element: RawDataElement, encodings: tuple[str, ...]) -> Any:
    """Return a value from a cache, as the files of a series share most of their header; callers must not change it."""
    return convert_raw_data_element(element, encoding=list(encodings)).value


def _refuse_other_objects(dataset: FileDataset, values: Values, preamble: bool) -> None:
    sop_class = values.get("SOPClassUID")
    if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage or _DIRECTORY in values:
        raise Ignored(message("DICOMDIR; the files themselves are read"))
    if not preamble and sop_class not in UID_dictionary:
        raise InvalidDicomError
    if values.get("Manufacturer") == NAME:
        raise Ignored(message("a result of nbcad, no image of a scanner"))
    if sop_class not in (MRImageStorage, EnhancedMRImageStorage):
        value = UID(str(sop_class)).name if sop_class else term("missing")
        raise Refusal(message("(0008,0016) SOP Class UID is {value}, not MR or Enhanced MR Image Storage", value=value))
    for keyword in _NEEDED:
        if not values.get(keyword):
            raise Refusal(message("{element} is missing", element=named(keyword)))
    if values.get("Modality", "MR") != "MR":
        raise Refusal(message("(0008,0060) Modality is {value}, not MR", value=str(values["Modality"])))
    if values.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2"):
        raise Refusal(
            message(
                "(0028,0004) Photometric Interpretation is {value}, not MONOCHROME1 or MONOCHROME2",
                value=_shown(values, "PhotometricInterpretation"),
            )
        )
    if values.get("SamplesPerPixel", 1) != 1:
        raise Refusal(message("(0028,0002) Samples per Pixel is {value}, not 1", value=str(values["SamplesPerPixel"])))
    if sop_class == MRImageStorage:  # an Enhanced object has a frame a slice, whatever its type says
        _refuse_grid(dataset, values)
    if "ModalityLUTSequence" in dataset:
        raise Refusal(
            message("(0028,3000) Modality LUT Sequence: an MR image has a linear rescaling or none (PS3.3 A.4)")
        )


def _refuse_grid(dataset: FileDataset, values: Values) -> None:
    """Refuse many slices laid out in one plane, as Siemens (MOSAIC) and UIH (VFRAME) store them."""
    element, count = private.slices_in_plane(dataset) or ("", None)
    for value in image_types(values):
        if value == "MOSAIC" or (value == "VFRAME" and count != 1):
            raise Refusal(message("(0008,0008) Image Type is {value}: many slices in one plane", value=value))
    if count is not None and count > 1:
        raise Refusal(message("{element} tells of {count} slices in one plane", element=element, count=count))


def _shown(values: Values, keyword: str) -> Value:
    """Return an element's value for a message."""
    return str(values[keyword]) if keyword in values else term("missing")


def named(keyword: str) -> str:
    """Return an element's tag and name, as messages give them."""
    tag = Tag(keyword)
    return f"{tag} {dictionary_description(tag)}"
