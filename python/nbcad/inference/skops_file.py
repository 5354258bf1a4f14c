"""Files of fitted scikit-learn models, by skops: the same model gives the same bytes, and no file can run code."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

import skops.io

from nbcad.errors import ModelError
from nbcad.language.message import message
from nbcad.runtime.files import replacing_file

_SCHEMA = "schema.json"  # in a file by skops: its parts and how they belong together
# Types that skops may load besides its defaults of NumPy and scikit-learn.
_TRUSTED = ["sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration"]


def write_skops(models: dict[str, Any], path: Path) -> None:
    """Write fitted models, by name, with numbers in place of memory addresses, and without times."""
    numbers: dict[str, int] = {}

    def number(address: str) -> int:
        return numbers.setdefault(address, len(numbers))

    def numbered(node: dict) -> dict:
        if "__id__" in node:
            node["__id__"] = number(str(node["__id__"]))
        if isinstance(node.get("file"), str):
            node["file"] = _renamed(node["file"], number)
        return node

    model = skops.io.dumps(models)
    with replacing_file(path) as temporary, ZipFile(BytesIO(model)) as made, ZipFile(temporary, "w") as written:
        schema = json.loads(made.read(_SCHEMA), object_hook=numbered)
        parts = {_renamed(name, number): made.read(name) for name in made.namelist() if name != _SCHEMA}
        for name, content in sorted((parts | {_SCHEMA: json.dumps(schema, indent=2).encode()}).items()):
            written.writestr(ZipInfo(name), content)


def _renamed(name: str, number: Callable[[str], int]) -> str:
    address, suffix = name.split(".")
    return f"{number(address)}.{suffix}"


def read_skops(path: Path, names: tuple[str, ...]) -> list[Any]:
    """Return the models of these names from a file of `write_skops`.

    Raises:
        ModelError: it is missing, damaged, or holds other types than such models are made of.
    """
    if not path.is_file():
        raise ModelError(message("{path} does not exist; run `make train-organ`", path=str(path)))
    try:
        fitted = skops.io.load(path, trusted=_TRUSTED)
        return [fitted[name] for name in names]
    except (BadZipFile, ValueError, KeyError, TypeError, OSError) as error:
        reason = message("{path} cannot be read: {error}", path=str(path), error=str(error).splitlines()[0])
        raise ModelError(reason) from error
