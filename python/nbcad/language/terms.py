"""The table of terms: labels of regions and stages, planes, weightings, and other words that stand for a value."""

from nbcad.language.message import Message, message, verbatim

_TERMS = (
    message("normal"),
    message("adrenal"),
    message("retroperitoneum"),
    message("thorax"),
    message("other"),
    message("left"),
    message("right"),
    message("midline"),
    message("not determined"),
    message("axial"),
    message("coronal"),
    message("sagittal"),
    message("unknown"),
    message("missing"),
    message("not known"),
    message("perfusion"),
)
# The same in every language: stages as the INRG and the INSS write them, weightings.
_SYMBOLS = ("L1", "L2", "M", "MS", "1", "2A", "2B", "3", "4", "4S", "T1", "T2", "T2*", "PD", "DWI", "BOLD", "EPI")
TERMS = {str(term): term for term in (*_TERMS, *map(verbatim, _SYMBOLS))}


def term(name: str) -> Message:
    """Return a term by its English name; a name that the table lacks, as a label file may hold it, stays as it is."""
    return TERMS.get(name) or verbatim(name)
