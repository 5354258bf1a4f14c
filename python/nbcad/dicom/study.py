"""What an image tells of its patient and study, for new objects of the same study."""

import re
import warnings

from pydicom import config
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from nbcad.dicom.functional_groups import items
from nbcad.dicom.header import named, without_deflation
from nbcad.dicom.refusal import MALFORMED, Refusal, one_line
from nbcad.dicom.sources import HEADER_BYTES, HEADER_READS, FileRecord, Source, as_binary_io
from nbcad.language.message import Message, message

# Type 1 or 2 of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): there, if only empty.
_ALWAYS = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime",
    "ReferringPhysicianName", "StudyID", "AccessionNumber",
)  # fmt: skip
# Type 3 of these and of the Patient Study module (C.7.2.2).
_IF_THERE = (
    "IssuerOfPatientID", "PatientBirthTime", "PatientComments", "PatientIdentityRemoved", "DeidentificationMethod",
    "StudyDescription", "PatientAge", "PatientSize", "PatientWeight",
)  # fmt: skip
_METHOD = "DeidentificationMethodCodeSequence"  # of which PatientIdentityRemoved asks for one form or the other
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")
_TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in ("SpecificCharacterSet", *_ALWAYS, *_IF_THERE, _METHOD)]
_SEXES = ("M", "F", "O")
_PLAIN = re.compile(rb"[\x00-\x1a\x1c-\x7e]*")  # the same in all character sets: ASCII without escape sequences
_PIXELS = 0x7FE00008
_REPLACED = "\ufffd"  # what pydicom puts in the place of bytes that it cannot decode


def read_study(source: Source, record: FileRecord) -> tuple[Dataset, list[Message]]:
    """Read a file's elements of patient and study that can be written as the standard demands.

    Text comes decoded; an object that holds it needs a character set that has all of Unicode.

    Returns:
        The elements, and for each that was left out, or left empty, why.

    Raises:
        Refusal: the file, which was read before, cannot be read any more.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with record.budget(HEADER_BYTES, HEADER_READS) as budget, source.open(budget) as file:
                header = read_partial(
                    as_binary_io(without_deflation(file)),
                    lambda tag, *_: int(tag) >= _PIXELS,
                    force=True,
                    specific_tags=_TAGS,
                )
                encodings = _encodings(header)
                study, notes = _copied(header, (*_ALWAYS, *_IF_THERE), encodings)
                if codes := [_copied(item, _CODE, encodings) for item in items(header, _METHOD, budget)]:
                    setattr(study, _METHOD, [code for code, _ in codes])
        except MALFORMED as error:
            raise Refusal(message("header cannot be read again: {error}", error=one_line(error))) from error
    for keyword in _ALWAYS:
        if keyword not in study:
            setattr(study, keyword, "")
    return study, [*notes, *(note for _, of_code in codes for note in of_code)]


def _copied(header: Dataset, keywords: tuple[str, ...], encodings: list[str] | None) -> tuple[Dataset, list[Message]]:
    """Those of the elements that have a value which can be written, and why others cannot."""
    copy = Dataset()
    notes: list[Message] = []
    for keyword in keywords:
        try:
            if value := _value(header.get_item(keyword), keyword, encodings):
                setattr(copy, keyword, value)
        except Refusal as refusal:
            notes.append(_not_copied(keyword, refusal.reason))
        except MALFORMED:  # what it says may hold the value
            notes.append(_not_copied(keyword, message("it cannot be read")))
    return copy, notes


def _not_copied(keyword: str, reason: Message) -> Message:
    return message("{element} is not copied: {reason}", element=named(keyword), reason=reason)


def _encodings(header: Dataset) -> list[str] | None:
    """Return Python's names of the character sets; None if there are none or one is unknown."""
    names = header.get("SpecificCharacterSet")
    if not names:
        return None
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = convert_encodings(names)
    return None if said else found


def _value(raw: RawDataElement | DataElement | None, keyword: str, encodings: list[str] | None) -> str:
    """Return an element's value as text, empty if there is none.

    Raises:
        Refusal, MALFORMED: the value is none of its VR; the message never holds it.
    """
    if raw is None or not raw.value:
        return ""
    if isinstance(raw, RawDataElement):
        if not _PLAIN.fullmatch(raw.value) and encodings is None:
            raise Refusal(
                message("(0008,0005) Specific Character Set is missing or not known, and it is not plain ASCII")
            )
        element = convert_raw_data_element(raw, encoding=encodings)
    else:
        element = raw
    values = element.value if isinstance(element.value, MultiValue) else [element.value]
    text = "\\".join("" if value is None else str(value) for value in values)
    if _REPLACED in text:
        raise Refusal(message("it cannot be decoded by (0008,0005) Specific Character Set"))
    if len(values) > 1 and dictionary_VM(keyword) == "1":
        raise Refusal(message("it has several values"))
    try:
        DataElement(Tag(keyword), dictionary_VR(keyword), text, validation_mode=config.RAISE)
    except ValueError:
        raise Refusal(message("it is no value of VR {name}", name=dictionary_VR(keyword))) from None
    if keyword == "PatientSex" and text not in ("", *_SEXES):
        raise Refusal(message("it is none of {names}", names=", ".join(_SEXES)))
    return text
