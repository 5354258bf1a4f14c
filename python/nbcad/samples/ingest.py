"""Annotated series decoded and put into the sample database."""

from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

from nbcad.annotation.annotations import SliceAnnotation
from nbcad.annotation.image_index import Key
from nbcad.annotation.merge import SourcedAnnotations, together
from nbcad.dicom import IGNORED, FileRecord, Series, read_pixels
from nbcad.dicom.rules import Rule, decide, read_rules
from nbcad.errors import DatabaseError
from nbcad.runtime.progress import progress
from nbcad.samples.build_run import Build
from nbcad.samples.database import pixel_hash
from nbcad.samples.existing import ExistingSlice, compare
from nbcad.samples.rows import insert_annotations, insert_series, insert_slice
from nbcad.samples.sampling import Sample, plan_samples, windows_per_box


@dataclass(frozen=True)
class _Plan:
    """What the samples of one slice are planned by."""

    annotation: SliceAnnotation
    windows: list[float]  # see `sampling.windows_per_box`


@dataclass(frozen=True)
class _Reading:
    """One series to decode."""

    series: Series
    patient: str
    plans: list[_Plan | None]  # of each slice; None: it had an annotation before
    seed: int


@dataclass(frozen=True)
class _ReadSlice:
    """What is kept of a slice that could be decoded."""

    place: int  # among those of its series
    pixel_sha256: str
    samples: list[Sample]  # with that place instead of a number


def take_images(build: Build, labels: dict[Key, SourcedAnnotations], held: dict[Key, ExistingSlice]) -> None:
    """Insert every annotated series that the nets are for, and annotations that are new; plan their samples."""
    rules, to_take = read_rules(), []
    for series in build.archive.series:
        keys = [(image.sop_uid, image.frame) for image in series.slices]
        if any(key in held for key in keys):
            compare(build, series, held)
            if any(key in held and not held[key].annotations and key in labels for key in keys):
                of_old = [image for image, key in zip(series.slices, keys, strict=True) if key in held]
                to_take.append(replace(series, slices=of_old))
            continue
        reason = _reason_not_taken(series, labels, rules)
        if reason:
            for image in series.slices:
                image.set_aside(IGNORED, reason)
        else:
            to_take.append(series)
    whole = {key: together(said for _, said in labels[key]) for key in labels}
    old = {key: together(s.annotations.values()) for key, s in held.items() if s.annotations}
    windows = _windows(build, to_take, whole | old) if to_take else {}  # of earlier samples the number stays as it is
    readings = (_reading(build, series, held, whole, windows) for series in to_take)
    read = zip(to_take, build.map_(_read_series, readings), strict=True)
    if to_take:
        read = progress(read, total=len(to_take), desc="database", unit="series")
    for series, (records, slices) in read:
        for image, record in zip(series.slices, records, strict=True):
            image.record.adopt(record)
        _insert_read(build, series, slices, held, labels)
    if build.connection.execute("SELECT 1 FROM slice").fetchone() is None:
        why = f"; {build.problems[0]}" if build.problems else "; see the annotation CSV's sop_uid"
        raise DatabaseError(f"no annotated series that config/series_rules.toml takes was found{why}")


def _windows(build: Build, new: list[Series], annotated: dict[Key, SliceAnnotation]) -> dict[Key, list[float]]:
    """How many windows to take round each box of each annotated slice, counting the lesions that stand there too."""
    rows = build.connection.execute("SELECT series, sop_uid, frame FROM slice ORDER BY series, slice").fetchall()
    keys = [[(uid, frame) for _, uid, frame in of_series] for _, of_series in groupby(rows, itemgetter(0))]
    standing = {key for of_series in keys for key in of_series}
    taken = [[(image.sop_uid, image.frame) for image in series.slices] for series in new]
    keys += [of_series for of_series in taken if of_series[0] not in standing]
    counts = windows_per_box([[annotated.get(key, SliceAnnotation()) for key in of_series] for of_series in keys])
    return {key: n for row, found in zip(keys, counts, strict=True) for key, n in zip(row, found, strict=True)}


def _reason_not_taken(series: Series, labels: dict[Key, SourcedAnnotations], rules: list[Rule]) -> str:
    reason = decide(series, rules).reason
    if reason:
        return reason
    if not series.patient_id.strip():
        return "(0010,0020) Patient ID is empty: the patient cannot be told from others, so no side of a split is safe"
    if not any((image.sop_uid, image.frame) in labels for image in series.slices):
        return "no slice of the series is annotated"
    return ""


def _reading(
    build: Build,
    series: Series,
    held: dict[Key, ExistingSlice],
    annotated: dict[Key, SliceAnnotation],
    windows: dict[Key, list[float]],
) -> _Reading:
    keys = [(image.sop_uid, image.frame) for image in series.slices]
    plans = [
        None
        if key in held and held[key].annotations
        else _Plan(annotated.get(key, SliceAnnotation()), windows.get(key, []))
        for key in keys
    ]
    patient = held[keys[0]].patient if keys[0] in held else build.patient(series)
    return _Reading(series, patient, plans, build.options.split.seed)


def _read_series(reading: _Reading) -> tuple[list[FileRecord], list[_ReadSlice]]:
    """Decode a series and plan its samples; with the record of each slice's file, as it is afterwards."""
    images = reading.series.slices
    places = {id(image): place for place, image in enumerate(images)}
    read = []
    for image, pixels in zip(*read_pixels(reading.series), strict=True):
        place = places[id(image)]
        plan, samples = reading.plans[place], []
        if plan:
            samples = plan_samples(reading.patient, place, image, pixels, plan.annotation, plan.windows, reading.seed)
        read.append(_ReadSlice(place, pixel_hash(pixels), samples))
    return [image.record for image in images], read


def _insert_read(
    build: Build,
    series: Series,
    read: list[_ReadSlice],
    held: dict[Key, ExistingSlice],
    labels: dict[Key, SourcedAnnotations],
) -> None:
    """Insert a series if it is new, and the annotations of those of its slices that had none."""
    number = None
    for found in read:
        image = series.slices[found.place]
        key = image.sop_uid, image.frame
        if key not in held:
            number = number or insert_series(build, series)
            of_slice = insert_slice(build, number, image, found.pixel_sha256)
        elif held[key].annotations:
            continue
        else:
            of_slice = held[key].slice
        insert_annotations(build, of_slice, labels.get(key, []))
        build.samples += [replace(sample, slice=of_slice) for sample in found.samples]
