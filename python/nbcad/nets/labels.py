"""Label files (`config/labels`): the names of a net's outputs in their order, one a line."""

from pathlib import Path

from nbcad.errors import ModelError
from nbcad.language.message import message
from nbcad.runtime import paths

NORMAL = "normal"
OTHER = "other"  # the organ SVM's answer outside the three regions; not a line of the file


def read_names(path: str | Path) -> list[str]:
    """Read the names in a label file, in order.

    Raises:
        ModelError: the file is missing or empty, or holds a name twice.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(message("label file {path} does not exist; git checkout brings it back", path=str(path)))
    names = path.read_text().split()
    if not names or len(set(names)) != len(names):
        raise ModelError(message("label file {path} must hold different names, one a line", path=str(path)))
    return names


def organ_labels() -> list[str]:
    """Return the names of the organ net's outputs."""
    return read_names(paths.LABELS / "organ.txt")


def stage_labels() -> list[str]:
    """Return the names of the stager's outputs."""
    return read_names(paths.LABELS / "stage.txt")
