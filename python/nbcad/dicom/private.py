"""What only private elements tell: b-values of before about 2015, and how many slices are laid out in one plane."""

from math import isfinite

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from nbcad.dicom.refusal import MALFORMED

# Element and the creator of its block (PS3.5 7.8.1); the first block of a group, as the vendors' scanners write it.
_B_VALUES = {
    0x0019100C: (0x00190010, "SIEMENS MR HEADER"),
    0x00431039: (0x00430010, "GEMS_PARM_01"),
    0x20011003: (0x20010010, "Philips Imaging DD 001"),
    0x00651009: (0x00650010, "Image Private Header"),  # UIH
}
_IN_PLANE = {
    0x0019100A: (0x00190010, "SIEMENS MR HEADER"),  # Number of Images in Mosaic
    0x00651050: (0x00650010, "Image Private Header"),  # UIH: images in a grid
}
_GE_FLAG = 100_000  # GE adds a multiple of it

TAGS = [tag for element, (creator, _) in (_B_VALUES | _IN_PLANE).items() for tag in (creator, element)]


def b_value(header: Dataset) -> float | None:
    """Return the b-value in s/mm2 of a vendor's private element; None if there is none that can be read."""
    found = _first(header, _B_VALUES)
    return found[1] % _GE_FLAG if found else None


def slices_in_plane(header: Dataset) -> tuple[str, int] | None:
    """Return the private element that tells how many slices are laid out in the plane, and their number, or None."""
    found = _first(header, _IN_PLANE)
    return (str(Tag(found[0])), int(found[1])) if found else None


def _first(header: Dataset, elements: dict[int, tuple[int, str]]) -> tuple[int, float] | None:
    """Return the first of the elements that stands in its vendor's block, and the number in it."""
    for element, (creator, name) in elements.items():
        if element not in header or creator not in header:
            continue
        try:
            if header[creator].value == name:
                value = header[element].value
                number = float(value[0] if isinstance(value, MultiValue) else value)
                return (element, number) if isfinite(number) else None
        except MALFORMED:  # what is private may be encoded in any way
            return None
    return None
