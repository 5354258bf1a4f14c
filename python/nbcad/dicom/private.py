"""b-values where vendors keep them: most diffusion images before about 2015 have no (0018,9087) Diffusion b-value."""

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from nbcad.dicom.refusal import MALFORMED

# Element and the creator of its block (PS3.5 7.8.1); the first block of a group, as the vendors' scanners write it.
_B_VALUES = {
    0x0019100C: (0x00190010, "SIEMENS MR HEADER"),
    0x00431039: (0x00430010, "GEMS_PARM_01"),
    0x20011003: (0x20010010, "Philips Imaging DD 001"),
    0x00651009: (0x00650010, "Image Private Header"),  # UIH
}
_GE_FLAG = 100_000  # GE adds a multiple of it

TAGS = [tag for element, (creator, _) in _B_VALUES.items() for tag in (creator, element)]


def b_value(header: Dataset) -> float | None:
    """Return the b-value in s/mm2 of a vendor's private element; None if there is none that can be read."""
    for element, (creator, name) in _B_VALUES.items():
        if element not in header or creator not in header:
            continue
        try:
            if header[creator].value == name:
                value = header[element].value
                return float(value[0] if isinstance(value, MultiValue) else value) % _GE_FLAG
        except MALFORMED:  # what is private may be encoded in any way
            return None
    return None
