"""The folder of a report: written aside and put in its place as a whole; nothing but a report of ours is replaced."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nbcad.errors import InputError, OutputError, OutputExistsError
from nbcad.language.message import Message, message
from nbcad.report.entries import SCHEMAS
from nbcad.runtime.files import refuse_existing, replacing_folder, telling_no_space

JSON, HTML, DICOM, PATIENTS = "report.json", "report.html", "dicom", "patients"
_FOLDERS = {DICOM: re.compile(r"\d{4,}(\.sr|-\d{2,}\.sc)\.dcm"), PATIENTS: re.compile(r"\d{4,}\.html")}


@contextmanager
def report_folder(out: Path, source: Path, force: bool) -> Iterator[Path]:
    """Yield an empty folder; on success it takes ``out``'s place in one step, on failure ``out`` stays as it was.

    Args:
        out: of the report. Nothing may stand there but an empty folder or, with ``force``, a report.
        source: of the images, which must not lie in ``out``.
        force: replace a report.

    Raises:
        OutputExistsError: something else is there.
        InputError: ``out`` cannot be replaced, or would take the images with it.
        OutputError: there is no space for it.
    """
    out = out.resolve()  # a link's target is replaced, not the link
    if source.resolve().is_relative_to(out):
        raise InputError(
            message(
                "{source} lies in --out {out}, which is replaced as a whole; give another --out",
                source=str(source),
                out=str(out),
            )
        )
    check_out(out, force)
    remedy = message("it is as it was, run the same again with more")
    with telling_no_space(OutputError, out, remedy), replacing_folder(out) as folder:
        yield folder
        check_out(out, force)  # it may have been filled meanwhile


def check_out(out: Path, force: bool) -> None:
    """Raise what `report_folder` raises if something else than what it replaces stands at ``out``."""
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputExistsError(message("{out} is no folder; give another --out", out=str(out)))
    if out.is_mount():
        raise InputError(
            message("{out} is a mount point and cannot be replaced as a whole; give a folder in it", out=str(out))
        )
    if not any(out.iterdir()):
        return
    if foreign := _foreign(out):
        raise OutputExistsError(
            message(
                "{out} holds {foreign}, which is no part of a report; give another --out", out=str(out), foreign=foreign
            )
        )
    refuse_existing(out, force)


def _foreign(out: Path) -> str | Message | None:
    """Return the first entry of a folder that a report does not have, or a report.json of another program."""
    for path in sorted(out.iterdir()):
        if path.name in _FOLDERS and path.is_dir() and not path.is_symlink():
            ours = _FOLDERS[path.name]
            foreign = next((p.name for p in sorted(path.iterdir()) if not ours.fullmatch(p.name)), None)
            if foreign:
                return f"{path.name}/{foreign}"
        elif path.name not in (JSON, HTML):
            return path.name
    try:
        schema = json.loads((out / JSON).read_text())["schema"]
    except (OSError, ValueError, LookupError, TypeError):
        schema = None
    return None if schema in SCHEMAS else message("a {file} of another kind, or none", file=JSON)
