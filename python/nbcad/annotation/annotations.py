"""Annotations: which slice shows which region, and where the lesions are, as a CSV (docs/labels.md).

Label files of other kinds, which outline lesions but know no stage, are read by `label_sources`; the stages then come
from a table of the patients.
"""

import csv
from dataclasses import dataclass, field
from pathlib import Path

from nbcad.errors import InputError
from nbcad.imaging.boxes import Box
from nbcad.nets.labels import NORMAL, organ_labels, stage_labels

HEADER = ["sop_uid", "frame", "organ", "stage", "row0", "col0", "row1", "col1"]


@dataclass
class SliceAnnotation:
    """The annotation of one slice: its region (None: unknown) and its lesions, each a stage and a box."""

    organ: str | None = None
    lesions_known: bool = False  # false: lesions were not looked for, so nothing on the slice is known to be normal
    lesions: list[tuple[str, Box]] = field(default_factory=list)


@dataclass(frozen=True)
class PatientLabel:
    """The entry of a patient in a table: the stage, and the region of the lesions (None: unknown)."""

    stage: str
    organ: str | None


def read_annotations(path: str | Path) -> dict[tuple[str, int], SliceAnnotation]:
    """Read an annotation CSV.

    Returns:
        Annotation by (SOP Instance UID, frame). Boxes are in zero-based pixels of the stored image, end exclusive.

    Raises:
        InputError: the file is missing, or a line is malformed; the message names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"annotation file {path} does not exist")
    organs, stages = organ_labels(), stage_labels()
    annotations: dict[tuple[str, int], SliceAnnotation] = {}
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if rows.fieldnames != HEADER:
            raise InputError(f"{path}: the header must be {','.join(HEADER)}")
        for row in rows:
            try:
                _add(annotations, row, organs, stages)
            except (ValueError, TypeError) as error:
                raise InputError(f"{path}, line {rows.line_num}: {error}") from error
    return annotations


def read_patients(path: str | Path) -> dict[str, PatientLabel]:
    """Read a table of patients: a CSV with the columns ``patient_id``, ``stage`` and, if wished, ``organ``.

    Returns:
        Stage and organ by (0010,0020) Patient ID.

    Raises:
        InputError: the file is missing, or a line is malformed; the message names the line, never the patient.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"table of patients {path} does not exist")
    organs, stages = organ_labels(), stage_labels()
    patients: dict[str, PatientLabel] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"patient_id", "stage"} <= set(rows.fieldnames or []):
            raise InputError(f"{path}: the header must have patient_id,stage and may have organ")
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            label = PatientLabel(row["stage"], row.get("organ") or None)
            if label.stage not in stages:
                raise InputError(f"{where}: stage {label.stage!r} is none of {', '.join(stages)}")
            if label.organ not in (None, *organs):
                raise InputError(f"{where}: organ {label.organ!r} is none of {', '.join(organs)}")
            if patients.setdefault(row["patient_id"], label) != label:
                raise InputError(f"{where}: the patient has an earlier line with another stage or organ")
    return patients


def _add(annotations: dict, row: dict, organs: list[str], stages: list[str]) -> None:
    annotation = annotations.setdefault((row["sop_uid"], int(row["frame"])), SliceAnnotation())
    organ, stage = row["organ"], row["stage"]
    if organ and organ not in organs:
        raise ValueError(f"organ {organ!r} is none of {', '.join(organs)}")
    if stage and stage not in stages:
        raise ValueError(f"stage {stage!r} is none of {', '.join(stages)}")
    if annotation.organ is not None and annotation.organ != (organ or None):
        raise ValueError(f"the slice has organ {organ!r} here and {annotation.organ!r} before")
    annotation.organ = organ or None
    corners = [row[name] for name in HEADER[4:]]
    annotation.lesions_known |= bool(stage)
    if not any(corners):
        if stage not in ("", NORMAL):
            raise ValueError(f"stage {stage} without a box; leave stage empty where the lesion is not outlined")
        return
    row0, col0, row1, col1 = map(float, corners)
    if not (0 <= row0 < row1 and 0 <= col0 < col1):
        raise ValueError(f"box {row0},{col0},{row1},{col1} is empty or outside the image")
    if stage in ("", NORMAL):
        raise ValueError("a box needs a stage other than normal")
    annotation.lesions.append((stage, (row0, col0, row1, col1)))
