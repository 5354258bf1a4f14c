"""What several label files say of one slice, put together; and what contradicts another file or the database."""

from collections.abc import Iterable, Mapping

from nbcad.annotation.annotations import SliceAnnotation
from nbcad.annotation.files import LabelFile
from nbcad.annotation.image_index import Key
from nbcad.dicom import REFUSED
from nbcad.imaging.boxes import holds_centre

SourcedAnnotations = list[tuple[LabelFile, SliceAnnotation]]  # of one slice


def agree(
    files: list[LabelFile], standing: Mapping[Key, dict[str, SliceAnnotation]]
) -> tuple[dict[Key, SourcedAnnotations], list[str]]:
    """Merge the label files, without what contradicts an earlier file or the database.

    Files may complete each other: a CSV names the regions, a SEG outlines one lesion, a second SEG another.

    Args:
        files: result of `files.read_label_files`.
        standing: of each slice that has annotations in the database, these by the path of their file. They stay.

    Returns:
        What is said of each slice, and a line for each file of which something is not taken.
    """
    agreed: dict[Key, SourcedAnnotations] = {}
    problems = []
    for file in files:
        path = str(file.path.absolute())
        against = []
        for key, said in file.slices.items():
            reason = _differs(said, path, standing.get(key, {})) or next(
                (reason for other in agreed.get(key, []) if (reason := _contradicts((file, said), other))), ""
            )
            if reason:
                against.append((key, reason))
            else:
                agreed.setdefault(key, []).append((file, said))
        if file.source == "csv":
            gone = [key for key, by_path in standing.items() if path in by_path and key not in file.slices]
            against += [(key, "is annotated in the database, but no longer here") for key in gone]
        if file.status == REFUSED:
            problems.append(f"{file.path}: {file.reason}")
        elif against:
            (sop_uid, frame), reason = against[0]
            more = f" (and {len(against) - 1} more slices)" if len(against) > 1 else ""
            problems.append(f"{file.path}: SOP Instance UID {sop_uid}, frame {frame}{more}: {reason}")
    return agreed, problems


def together(annotations: Iterable[SliceAnnotation]) -> SliceAnnotation:
    """Merge the annotations of one slice by several label files."""
    whole = SliceAnnotation()
    for said in annotations:
        whole.organ = whole.organ or said.organ
        whole.lesions_known |= said.lesions_known
        whole.lesions = whole.lesions + said.lesions
    return whole


def _differs(said: SliceAnnotation, path: str, standing: dict[str, SliceAnnotation]) -> str:
    """Return why a slice's new annotation differs from the database's; empty if it does not, or there is none."""
    if not standing:
        return ""
    other = "the database has another annotation of the slice; --force rebuilds it"
    if path in standing:
        return "" if said == standing[path] else other
    whole = together(standing.values())
    within = (
        said.organ in (None, whole.organ)
        and said.lesions_known <= whole.lesions_known
        and all(lesion in whole.lesions for lesion in said.lesions)
    )
    return "" if within else other


def _contradicts(one: tuple[LabelFile, SliceAnnotation], other: tuple[LabelFile, SliceAnnotation]) -> str:
    """Return why two label files cannot both be right about one slice; empty if they can."""
    (file, said), (before, theirs) = one, other
    if None not in (said.organ, theirs.organ) and said.organ != theirs.organ:
        return f"organ {said.organ} contradicts {before.path}, which has {theirs.organ}"
    both_looked = said.lesions_known and theirs.lesions_known
    if both_looked and "csv" in (file.source, before.source) and bool(said.lesions) != bool(theirs.lesions):
        return f"{before.path} has {'a' if theirs.lesions else 'no'} lesion on the slice"  # a CSV says normal outright
    if any(holds_centre(a, b) or holds_centre(b, a) for _, a in said.lesions for _, b in theirs.lesions):
        return f"{before.path} outlines the same lesion"
    return ""
