"""Images to stacks: what shares plane, size and contrast, one image at each place, in even steps along the normal.

Nothing is dropped but a second copy of an image; where images do not make one stack they make several, and each says
what tells it from the others of its series.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from itertools import compress
from typing import TypeVar

import numpy as np

from nbcad.dicom.images import MARKS, Image
from nbcad.dicom.pixels import stored_digest
from nbcad.dicom.sources import REFUSED
from nbcad.dicom.types import Geometry, Series, distances_along_normal, geometries
from nbcad.language.message import EMPTY, Message, joined, message
from nbcad.language.terms import term

_SAME_DIRECTION = 1e-3  # direction cosines that differ by less belong to one stack
_SAME_SPACING_MM = 1e-3
_SAME_PLACE_MM = 1e-2
_SAME_ECHO_MS = 0.1
_GAP = 1.5  # times the usual step

_Key = TypeVar("_Key", bound=Hashable)


class _Stack:
    """Images that belong together, and what was found out on the way."""

    def __init__(self, images: list[Image], parts: tuple[Message, ...] = (), notes: tuple[Message, ...] = ()):
        self.images, self.parts, self.notes = images, parts, notes

    def part(self, images: list[Image], name: Message, note: Message = EMPTY) -> "_Stack":
        """Return some of the images as a stack of their own."""
        return _Stack(images, (*self.parts, name), (*self.notes, note) if note else self.notes)

    @property
    def distances(self) -> np.ndarray:
        """Return the distances along the normal, shape (images,) in mm, of images that have a place."""
        planes = geometries([image.slice for image in self.images])
        assert planes is not None
        return distances_along_normal(planes)


def build(images: Iterable[Image]) -> list[Series]:
    """Sort images into series, each a single stack; images without a place stand alone.

    A second copy of an image is refused in its `FileRecord`, naming the first.
    """
    same_series: dict[tuple, list[_Stack]] = {}
    for group in _alike(images):
        about = group[0].about
        stacks = same_series.setdefault((about.patient_id, about.study_uid, about.series_uid), [])
        if group[0].slice.geometry is None:
            stacks += [_Stack([image], notes=(_alone(image),)) for image in group]
            continue
        group.sort(key=lambda image: image.instance)
        for stack in _one_at_each_place(_Stack(group)):
            stacks += _without_gaps(stack)
    series = [made for stacks in same_series.values() for made in _named_apart(stacks)]
    return sorted(series, key=lambda s: (s.patient_id, s.study_uid, s.series_uid, -len(s.slices)))


def _alone(image: Image) -> Message:
    return message("{reason}: the image stands alone and has no millimetres", reason=image.no_place)


def _alike(images: Iterable[Image]) -> list[list[Image]]:
    """Group images by patient, series, size, contrast, and by plane and spacing within a tolerance."""
    groups: dict[tuple, list[tuple[np.ndarray, list[Image]]]] = {}
    for image in images:
        about, echo = image.about, image.echo_ms
        key = (
            about.patient_id, about.study_uid, about.series_uid, image.slice.rows, image.slice.columns, image.b_value,
            None if echo is None else round(echo / _SAME_ECHO_MS), image.slice.geometry is None,
        )  # fmt: skip
        plane = _plane_numbers(image)
        planes = groups.setdefault(key, [])
        known = np.array([p for p, _ in planes]).reshape(-1, len(plane))
        near = np.flatnonzero((np.abs(known - plane) < 1).all(axis=1))
        if len(near):
            planes[near[0]][1].append(image)
        else:
            planes.append((plane, [image]))
    return [group for planes in groups.values() for _, group in planes]


def _plane_numbers(image: Image) -> np.ndarray:
    """Directions and spacing in units of what still counts as the same."""
    spacing = np.array(image.slice.spacing) / _SAME_SPACING_MM
    geometry = image.slice.geometry
    if geometry is None:
        return spacing
    return np.concatenate([geometry.along_row / _SAME_DIRECTION, geometry.along_column / _SAME_DIRECTION, spacing])


def _one_at_each_place(stack: _Stack) -> list[_Stack]:
    """Stacks with one image at each place: told apart by a mark of the header, at last by the images' order."""
    places = _places(stack)
    most = _most(places)
    if most == 1:
        return [stack]
    for index, mark in enumerate(MARKS.values()):
        parts = _split(stack.images, (image.marks[index] for image in stack.images))
        helps = all(_most(_places(_Stack(part))) < most for part in parts.values())
        if helps and len(parts) <= most:
            found = [stack.part(part, _marked(mark, value)) for value, part in parts.items()]
            return [single for part in found for single in _one_at_each_place(part)]
    stack = _Stack(_without_copies(stack.images, places), stack.parts, stack.notes)
    parts = _split(stack.images, _occurrences(_places(stack)))
    if len(parts) == 1:
        return [stack]
    note = message("several images stand at each place; only (0020,0013) Instance Number tells them apart")
    return [
        stack.part(part, message("image {number} of each place", number=number), note) for number, part in parts.items()
    ]


def _marked(mark: Message, value: str) -> Message:
    return message("{mark} {value}", mark=mark, value=value) if value else message("{mark} not given", mark=mark)


def _split(images: list[Image], keys: Iterable[_Key]) -> dict[_Key, list[Image]]:
    """Split images by their keys, one key for each."""
    parts: dict[_Key, list[Image]] = {}
    for image, key in zip(images, keys, strict=True):
        parts.setdefault(key, []).append(image)
    return parts


def _occurrences(values: Iterable[Hashable]) -> Iterator[int]:
    """Count for each value its occurrences so far, this one included."""
    times: Counter[Hashable] = Counter()
    for value in values:
        times[value] += 1
        yield times[value]


def _places(stack: _Stack) -> list[int]:
    """Return the place of each image along the normal, counted from the lowest."""
    distances = stack.distances
    order = np.argsort(distances, kind="stable")
    steps = np.diff(distances[order], prepend=distances[order[0]])
    places = np.empty(len(order), int)
    places[order] = np.cumsum(steps > _SAME_PLACE_MM)
    return places.tolist()


def _most(places: list[int]) -> int:
    return max(Counter(places).values())


def _without_copies(images: list[Image], places: list[int]) -> list[Image]:
    """Refuse what has the pixels of another file's image at the same place."""
    sources: dict[int, set] = {}
    for image, place in zip(images, places, strict=True):
        sources.setdefault(place, set()).add(image.slice.source)
    first: dict[tuple, Image] = {}
    kept = []
    for image, place in zip(images, places, strict=True):
        digest = stored_digest(image.slice) if len(sources[place]) > 1 else b""
        known = first.setdefault((place, digest), image) if digest else image
        if known is image:
            kept.append(image)
        else:
            reason = message(
                "(0020,0032) Image Position (Patient) and all pixels are those of {path}", path=str(known.slice.source)
            )
            image.slice.set_aside(REFUSED, reason)
    return kept


def _without_gaps(stack: _Stack) -> list[_Stack]:
    """Stacks in even steps: a step clearly larger than the usual one ends one and begins the next."""
    pieces = _cut(_sorted_by_place(stack.images))
    if len(pieces) == 1:
        return [_Stack(pieces[0][0], stack.parts, stack.notes)]
    return [
        stack.part(images, message("part {number} of {count}", number=number, count=len(pieces)), note)
        for number, (images, note) in enumerate(pieces, start=1)
    ]


def _sorted_by_place(images: list[Image]) -> list[Image]:
    """Sort images along their normal."""
    order = np.argsort(_Stack(images).distances, kind="stable")
    return [images[index] for index in order]


def _cut(images: list[Image]) -> list[tuple[list[Image], Message]]:
    """Cut sorted images at gaps, and the pieces likewise; with each the gap that cut it off."""
    steps = np.diff(_Stack(images).distances)
    usual = float(np.percentile(steps, 50, method="lower")) if len(steps) else 0.0
    cuts = np.flatnonzero(steps > _GAP * usual) + 1
    if not len(cuts):
        return [(images, EMPTY)]
    note = message(
        "the usual step is {usual} mm, a gap of {gap} mm splits the series; nothing is interpolated",
        usual=f"{usual:.1f}",
        gap=f"{steps.max():.1f}",
    )
    pieces = [images[first:last] for first, last in zip([0, *cuts], [*cuts, len(images)], strict=True)]
    return [(part, deeper or note) for piece in pieces for part, deeper in _cut(piece)]


def _named_apart(stacks: list[_Stack]) -> list[Series]:
    """Name the stacks of one series by what distinguishes them."""
    names = _names(stacks)
    times = Counter(names)
    made = []
    for stack, name, number in zip(stacks, names, _occurrences(names), strict=True):
        if times[name] > 1:
            name = (*name, message("stack {number} of {count}", number=number, count=times[name]))
        first, about = stack.images[0], stack.images[0].about
        made.append(
            Series(
                study_uid=about.study_uid,
                series_uid=about.series_uid,
                patient_id=about.patient_id,
                age=about.age,
                description=about.description,
                weighting=first.weighting,
                plane=_plane(first.slice.geometry),
                phantom=about.phantom,
                slices=[image.slice for image in stack.images],
                b_value=first.b_value,
                image_types=tuple(dict.fromkeys(value for image in stack.images for value in image.image_types)),
                stack=joined(name, message(", ")),
                notes=list(stack.notes),
            )
        )
    return made


def _names(stacks: list[_Stack]) -> list[tuple[Message, ...]]:
    """Return a name for each stack of a series, as far as words distinguish them."""
    facts = [_facts(stack) for stack in stacks]
    differ = [len(set(of_all)) > 1 for of_all in zip(*facts, strict=True)]
    return [(*compress(own, differ), *stack.parts) for own, stack in zip(facts, stacks, strict=True)]


def _facts(stack: _Stack) -> list[Message]:
    """Return the facts that may distinguish a stack from others, the same for each."""
    image = stack.images[0]
    rows, columns, spacing = image.slice.rows, image.slice.columns, image.slice.spacing
    plane, b_value, echo_ms = _plane(image.slice.geometry), image.b_value, image.echo_ms
    return [
        term(plane) if plane else message("no position"),
        message("{rows} rows, {columns} columns", rows=rows, columns=columns),
        message("{size} mm a pixel", size=f"{spacing[0]:g} x {spacing[1]:g}"),
        message("no b-value") if b_value is None else message("b {value} s/mm2", value=f"{b_value:g}"),
        message("no echo time") if echo_ms is None else message("echo {time} ms", time=f"{echo_ms:g}"),
    ]


def _plane(geometry: Geometry | None) -> str:
    if geometry is None:
        return ""
    return ("sagittal", "coronal", "axial")[int(np.argmax(np.abs(geometry.normal)))]
