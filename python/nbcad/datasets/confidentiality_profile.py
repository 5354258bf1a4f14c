"""The Basic Application Level Confidentiality Profile of DICOM PS3.15 Annex E, for one data set.

The action for each attribute comes from table E.1-1, which dicom-anonymizer carries; this module carries it out, with
these options of the profile:

- Retain Longitudinal Temporal Information With Modified Dates: a patient's dates move by one secret number of days.
- Clean Descriptors: Series Description, Protocol Name and ROI Name keep words that name a kind of image or a tumour.
- Retain Patient Characteristics, if asked for: age, sex, size and weight stay (stage MS of INRGSS needs the age).

UIDs and patient IDs are replaced under a secret key, so that several copies made with one key fit together.
"""

import hmac
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, partial

from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom.datadict import dictionary_has_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.tag import BaseTag

from nbcad.dicom.age import age_at_study, age_text, read_age

TABLE = "dicomfields_2026c"  # edition of table E.1-1
LARGEST_SHIFT_DAYS = 3650
CHARACTERISTICS = ("PatientAge", "PatientSex", "PatientSize", "PatientWeight")
DESCRIPTORS = ("SeriesDescription", "ProtocolName", "ROIName")
KEPT_WORDS = re.compile(  # the technique of an image, or a structure outlined on it
    r"[23]d|t[12]w?|t2star|pdw?|dwi|diff|diffusion|adc|dti|trace|b-?\d{1,4}|ir|se|fse|tse|gre|ffe|tfe|epi|ep2d|mr|mri"
    r"|flair|stir|haste|ssfse|blade|propeller|multivane|spair|spir|fs|fatsat|dixon|mdixon|ideal|vibe|lava|thrive|trufi"
    r"|fiesta|btfe|tirm|flash|space|cube|vista|ax|axial|tra|trans|transverse|transversal|cor|coronal|sag|sagittal"
    r"|pre|post|contrast|gd|km|in|out|opp|phase|water|fat|resp|trig|triggered|nav|bh|abd|abdomen|thorax|chest|pelvis"
    r"|tumou?r|lesion|neoplasm|neuroblastoma|metastas[ei]s|[gcp]tv|adrenal|retroperitoneum",
    re.IGNORECASE,
)
DUMMY = "DEIDENTIFIED"
_FREE_TEXT = ("LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
_DATES = ("DA", "DT", "TM")


@dataclass(frozen=True)
class Secrets:
    """Replacements that depend on a secret key and the replaced value alone."""

    key: bytes

    def uid(self, uid: str) -> str:
        """Return the replacement of a UID; UIDs that the standard itself defines stay."""
        if not uid or uid.startswith("1.2.840.10008."):
            return uid
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', uid)[:16], version=5).int}"

    def patient(self, patient: str) -> str:
        """Return a patient's pseudonym of 16 hexadecimal digits."""
        return self._digest("patient", patient)[:8].hex()

    def shift(self, patient: str) -> timedelta:
        """Return how far a patient's dates move into the past."""
        number = int.from_bytes(self._digest("dates", patient)[:8])
        return timedelta(days=-1 - number % LARGEST_SHIFT_DAYS)

    def _digest(self, purpose: str, text: str) -> bytes:
        """Return the keyed hash of a text for one purpose."""
        return hmac.digest(self.key, f"{purpose}:{text}".encode(), "sha256")


@dataclass(frozen=True)
class _Rules:
    """The rules for all data sets of one file."""

    secrets: Secrets
    shift: timedelta
    kept: tuple[str, ...]  # keywords
    identifiers: re.Pattern | None  # words that name the patient or the examination


def clean(dataset: Dataset, secrets: Secrets, keep_characteristics: bool) -> None:
    """De-identify a data set in place, without touching pixels and geometry.

    Raises:
        ValueError, TypeError, ...: an element cannot be read.
    """
    patient = str(dataset.get("PatientID") or dataset.StudyInstanceUID)
    if keep_characteristics:
        dataset.PatientAge = _kept_age(dataset)
    kept = CHARACTERISTICS if keep_characteristics else ()
    _clean(dataset, _Rules(secrets, secrets.shift(patient), kept, _identifiers(dataset)))
    dataset.PatientID, dataset.PatientName = secrets.patient(patient), ""
    dataset.PatientIdentityRemoved = "YES"
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"
    dataset.DeidentificationMethod = f"nbcad, PS3.15 table E.1-1 {TABLE.removeprefix('dicomfields_')}"
    options = [
        codes.DCM.BasicApplicationConfidentialityProfile,
        codes.DCM.CleanDescriptorsOption,
        codes.DCM.RetainLongitudinalTemporalInformationModifiedDatesOption,
        *([codes.DCM.RetainPatientCharacteristicsOption] if keep_characteristics else []),
    ]
    dataset.DeidentificationMethodCodeSequence = [_code_item(code) for code in options]


@cache
def _actions() -> dict[tuple[int, int], str]:
    """Return table E.1-1's column of the basic profile, by (group, element): "X", "Z", "X/Z/D", "X/Z/U*", ..."""
    table = dicom_anonymization_database_selector(TABLE)
    return {
        tag: name.removesuffix("_TAGS").replace("U_STAR", "U*").replace("_", "/")
        for name, tags in table.items()
        if name != "ALL_TAGS"
        for tag in tags
    }


def profile_action(tag: BaseTag) -> str:
    """Return the basic profile's action for an attribute; empty if it stays."""
    curve_or_overlay = tag.group & 0xFF00 in (0x5000, 0x6000)  # as a whole: planes are useless without their data
    padding_or_signature = tag.group in (0xFFFA, 0xFFFC) or tag == 0x4FFE0001
    if tag.is_private or curve_or_overlay or padding_or_signature or not dictionary_has_tag(tag):
        return "X"
    return _actions().get((tag.group, tag.element), "")


def _clean(dataset: Dataset, rules: _Rules) -> None:
    """Clean every element of a data set or an item in place."""
    for tag in list(dataset.keys()):
        element = dataset[tag]
        action = profile_action(tag)
        if element.keyword in rules.kept:
            continue
        if element.keyword in DESCRIPTORS:
            element.value = _kept_words(str(element.value))
        elif element.VR in _DATES and tag.group != 0x0010 and dictionary_has_tag(tag):
            _each(element, partial(moved_date, vr=element.VR, shift=rules.shift))
        elif action == "X" or element.VR == "UN":
            del dataset[tag]
        elif element.VR == "SQ":
            _clean_sequence(dataset, element, action, rules)
        elif element.VR == "UI":
            _each(element, rules.secrets.uid)
        elif action in ("Z", "X/Z") or (element.VR == "PN" and not action):
            element.clear()
        elif action:
            element.value = _dummy(element.VR)
        elif element.VR in _FREE_TEXT and rules.identifiers and rules.identifiers.search(str(element.value)):
            element.value = DUMMY


def _clean_sequence(dataset: Dataset, element: DataElement, action: str, rules: _Rules) -> None:
    """Clean a sequence item by item if it may stay or only refers to other objects; else empty or delete it."""
    if action in ("", "U", "X/Z/U*"):
        for item in element.value:
            _clean(item, rules)
    elif action in ("Z", "X/Z"):
        element.value = []
    else:
        del dataset[element.tag]


def _each(element: DataElement, replace: Callable[[str], str]) -> None:
    """Replace every value of an element."""
    values = element.value if element.VM > 1 else [element.value]
    replaced = [replace(str(value or "")) for value in values]
    element.value = replaced if element.VM > 1 else replaced[0]


def moved_date(text: str, vr: str, shift: timedelta) -> str:
    """Move a DA or DT value to another day, and keep a TM value; empty where that is impossible."""
    text = text.strip()
    if vr == "TM":
        return text if re.fullmatch(r"\d{2}(:?\d{2}){0,2}(\.\d{1,6})?", text) else ""
    if not (match := re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})(\d{0,6}(?:\.\d{1,6})?(?:[+-]\d{4})?)", text)):
        return ""
    try:
        moved = date(*map(int, match.groups()[:3])) + shift
    except (ValueError, OverflowError):
        return ""
    return f"{moved:%Y%m%d}{match[4]}"


def _kept_age(dataset: Dataset) -> str:
    """Return Patient's Age for a copy, which loses the birth date; empty if the header tells no age.

    In months as the dates tell them, or as it was where that means the same months or the dates tell nothing.
    """
    born, studied, stated = (
        str(dataset.get(keyword) or "") for keyword in ("PatientBirthDate", "StudyDate", "PatientAge")
    )
    age = age_at_study(born, studied, stated)
    if age is None:
        return ""
    return stated.strip().zfill(4) if age == read_age(stated) else age_text(age)


def _kept_words(text: str) -> str:
    """Return the words of a text that may stay."""
    return " ".join(word for word in re.split(r"[^0-9A-Za-z-]+|(?<![bB])-", text) if KEPT_WORDS.fullmatch(word))


def _dummy(vr: str) -> str | bytes | int:
    """Return a dummy value that is valid for a value representation."""
    if vr in ("OB", "OW", "OD", "OF", "OL", "OV"):
        return bytes(8)
    if vr in ("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV", "DS", "IS"):
        return 0
    return {"AS": "000Y", "UR": "http://deidentified.invalid"}.get(vr, DUMMY)


def _identifiers(dataset: Dataset) -> re.Pattern | None:
    """Return a pattern of the words of all persons' names and of the numbers of patient and examination, if any."""
    words = set()
    for element in dataset.iterall():
        values = element.value if element.VM > 1 else [element.value]
        if element.VR == "PN":
            words |= {word for value in values for word in re.split(r"[\^=\s]+", str(value)) if len(word) > 2}
        elif element.keyword in ("PatientID", "OtherPatientIDs", "AccessionNumber"):
            words |= {str(value) for value in values if len(str(value)) > 3}
    if not words:
        return None
    return re.compile(r"(?<![^\W_])(?:" + "|".join(map(re.escape, sorted(words))) + r")(?![^\W_])", re.IGNORECASE)


def _code_item(code: Code) -> Dataset:
    """Return the item of a code sequence, DICOM PS3.3 8.8."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item
