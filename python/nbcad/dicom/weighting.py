"""The weighting of an image: what its type, its b-value, the names of its series and its physics say, in this order."""

import re
from typing import Any

from pydicom.multival import MultiValue

from nbcad.dicom.words import plain, words

WEIGHTINGS = ("T1", "T2", "T2*", "PD", "DWI", "perfusion", "BOLD", "EPI")

# Values of Image Type (PS3.3 C.8.3.1.1.1, C.8.13.1.1.1, and what makers add), Acquisition Contrast (C.8.13.5.1.1).
_OF_TYPE = {
    "DWI": (
        "DIFFUSION", "DIFFUSION MAP", "DIFFUSION ANISO", "DIFFUSION ATTNTD", "DWI", "DTI", "TRACEW", "TRACE", "ADC",
        "EADC", "FA", "TENSOR", "TENSOR B0", "CALC BVALUE", "ADC UNSPECIFIED",
    ),
    "BOLD": ("FMRI", "BOLD"),
    "perfusion": (
        "PERFUSION", "ASL", "RCBF", "RCBV", "CBF", "CBV", "MTT", "TTP", "TMAX", "RELCBF", "REGIONAL CBF",
        "REGIONAL CBV", "TIME TO PEAK", "MEAN TRANSIT TIME", "PBP", "GBP",
    ),
    "T2*": ("T2 STAR", "T2STAR", "T2*", "SWI"),
}  # fmt: skip
# Words of names, as `words` finds them; with them the Chinese ones, which stand anywhere.
_OF_NAME = {
    "DWI": (
        r"[a-z]?dwi[a-z]*|[ed]?adc(s|maps?)?|(ep)?diff(us[a-z]*)?|dti[a-z]*|d[sk]i|ivim|hardi|noddi|tracew?|tensor"
        r"|c?bval(ues?)?|resolve",
        r"弥散|扩散|彌散|擴散",
    ),
    "BOLD": (r"[a-z]*fmri|bold", r"血氧|静息态"),
    "perfusion": (r"(p|pc|c|vs|ve)?asl|perf(us[a-z]*)?|pwi|dsc|(r|rel)?cb[fv]|mtt|ttp|tmax", r"灌注"),
    "T2*": (r"swi|swan[a-z]*|swip|qsm|medic|t2w?star|r2star", r"磁敏感"),
}
_STRONG = {kind: (re.compile(by_word), re.compile(chinese)) for kind, (by_word, chinese) in _OF_NAME.items()}
_B_VALUE = re.compile(r"(?<![A-Z0-9])B(?:[_=-]?(?:0[ _,/-]+)?\d{2,4}| \d{3,4})(?!\d|MM)")
_T2_STAR = re.compile(r"(?<![A-Z0-9])[TR]2[\s_-]?W?[\s_-]?(?:\*|STAR(?![A-Z]))")
_T1_OR_T2 = re.compile(  # not POST1, not iPAT2, not the vertebra T12
    r"(?<![A-Z0-9])(?:[23]D|FS|[OE]?AX(?:IAL)?|TRA(?:NS)?|CORO?|SAG)?T([12])(?!\d(?!D))"
)
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_PROTON_DENSITY = re.compile(r"pdw?|proton")
_T1 = re.compile(r"mp2?rage|f?spgr|vibe|e?thrive|lava[a-z]*|bravo|molli|dce")
_T2 = re.compile(r"stir|tirm")
_GRADIENT = re.compile(r"f?gre|m?ffe|fl[23]d[a-z]*|flash|hemo")  # with T2 in the same name: T2*
_PLANAR = re.compile(r"epi|ep[23]d[a-z]*")
_LONG_GRADIENT_ECHO_MS = 10


def image_types(frame: dict[str, Any]) -> tuple[str, ...]:
    """Return all values that tell the kind of an image, in capitals, with blanks for underscores.

    Those of Image Type or, in an Enhanced object, of Frame Type and of the whole object's Image Type, and the
    component of the complex signal.
    """
    values = (frame.get(keyword) for keyword in ("ImageType", "ImageTypeOfObject", "ComplexImageComponent"))
    return tuple(dict.fromkeys(_normal(value) for several in values for value in listed(several)))


def _normal(value: str) -> str:
    return value.strip().upper().replace("_", " ")


def listed(value: Any) -> list[str]:
    """Return the values of an element as texts; none if it is absent or empty."""
    if value is None or value == "":
        return []
    return [str(one) for one in (value if isinstance(value, MultiValue | list | tuple) else [value])]


def weighting(frame: dict[str, Any], name: str, b_value: float | None) -> str:
    """Return an image's weighting.

    Args:
        frame: header values by keyword.
        name: of its series.
        b_value: in s/mm2.

    Returns:
        One of `WEIGHTINGS`, or empty where nothing tells it.
    """
    contrast = _normal(str(frame.get("AcquisitionContrast") or ""))
    sequence = set(listed(frame.get("ScanningSequence")))
    planar = "EP" in sequence or frame.get("EchoPlanarPulseSequence") == "YES"
    name = plain(name)
    if b_value or (b_value == 0 and planar) or _names_b_value(frame, name):  # some write b-value 0 into every image
        return "DWI"
    types = {contrast, *image_types(frame)}
    for kind, values in _OF_TYPE.items():
        if not types.isdisjoint(values) or _says(name, *_STRONG[kind]):
            return kind
    if _T2_STAR.search(_in_capitals(name)):
        return "T2*"
    gradient = ("GR" in sequence and "SE" not in sequence) or frame.get("EchoPulseSequence") == "GRADIENT"
    echo, repetition = _positive(frame, "EchoTime"), _positive(frame, "RepetitionTime")
    named = _by_contrast(contrast) or _by_name(name, echo)
    if named == "T2" and ((gradient and echo >= _LONG_GRADIENT_ECHO_MS) or _says(name, _GRADIENT)):
        return "T2*"
    if named:
        return named
    if planar or _says(name, _PLANAR):
        return "EPI"
    return _by_times(echo, repetition, gradient)


def _names_b_value(frame: dict[str, Any], name: str) -> bool:
    scanner = str(frame.get("SequenceName") or frame.get("PulseSequenceName") or "").upper()
    return bool(_B_VALUE.search(name.upper()) or re.search(r"EP_B\d|DWI", scanner))


def _says(name: str, by_word: re.Pattern[str], chinese: re.Pattern[str] | None = None) -> bool:
    return any(map(by_word.fullmatch, words(name))) or bool(chinese and chinese.search(name))


def _in_capitals(name: str) -> str:
    return _CAPITAL.sub(" ", name).upper()


def _by_contrast(contrast: str) -> str:
    """Return the weighting that an Enhanced object states."""
    return {"T1": "T1", "T2": "T2", "STIR": "T2", "PROTON DENSITY": "PD"}.get(contrast, "")


def _by_name(name: str, echo: float) -> str:
    """Return T1, T2 or PD as the name says; of PD and T2 in one name the echo time in ms decides."""
    found = _T1_OR_T2.search(_in_capitals(name))
    if _says(name, _PROTON_DENSITY) and not (found and (found[1] == "1" or echo >= 60)):
        return "PD"
    if found:
        return f"T{found[1]}"
    if _says(name, _T1):
        return "T1"
    return "T2" if _says(name, _T2) else ""


def _by_times(echo: float, repetition: float, gradient: bool) -> str:
    """Return the weighting by echo and repetition time in ms, 0 for unknown."""
    if gradient and echo:
        return "T2*" if echo >= _LONG_GRADIENT_ECHO_MS else "T1"
    if not echo or not repetition:
        return ""
    if echo >= 60 and repetition >= 1500:
        return "T2"
    if echo <= 30 and repetition <= 1000:
        return "T1"
    return ""


def _positive(frame: dict[str, Any], keyword: str) -> float:
    """Return the positive number of an element, 0 where there is none."""
    try:
        value = float(frame.get(keyword) or 0)
    except (TypeError, ValueError):
        return 0.0
    return value if 0 < value < float("inf") else 0.0
