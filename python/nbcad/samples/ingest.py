"""Decoding of annotated series into the sample database."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from nbcad.annotation.annotations import SliceAnnotation
from nbcad.annotation.image_index import Key
from nbcad.annotation.merge import SourcedAnnotations, together
from nbcad.dicom import IGNORED, FileRecord, Series, read_pixels
from nbcad.dicom.rules import Rule, decide, read_rules
from nbcad.errors import DatabaseError
from nbcad.language.message import EMPTY, Message, message
from nbcad.runtime.progress import progress
from nbcad.samples.build_run import Build
from nbcad.samples.existing import compare
from nbcad.samples.images import pixel_hash
from nbcad.samples.rows import ExistingSlice
from nbcad.samples.sampling import Sample, plan_samples, windows_per_box


@dataclass(frozen=True)
class _Plan:
    """The annotation of one slice, by which its samples are planned."""

    annotation: SliceAnnotation
    windows: list[float]  # see `sampling.windows_per_box`


@dataclass(frozen=True)
class _Reading:
    """One series to decode."""

    series: Series
    patient: str
    plans: list[_Plan | None]  # of each slice; None: the database has its annotation already
    seed: int


@dataclass(frozen=True)
class _ReadSlice:
    """The results for a slice that could be decoded."""

    place: int  # among the slices of its series
    pixel_sha256: str
    samples: list[Sample]  # with that place in place of the slice's number


def take_images(build: Build, labels: dict[Key, SourcedAnnotations], existing: dict[Key, ExistingSlice]) -> None:
    """Insert every annotated series that the nets are for, and every new annotation; plan their samples.

    Raises:
        DatabaseError: the database still holds no slice.
    """
    to_read = list(_series_to_read(build, labels, existing))
    if to_read:
        readings = _readings(build, to_read, labels, existing)
        results = zip(to_read, build.map_(_read_series, readings), strict=True)
        for series, (records, read) in progress(results, total=len(to_read), desc="database", unit="series"):
            for image, record in zip(series.slices, records, strict=True):
                image.record.adopt(record)
            _insert_read(build, series, read, labels, existing)
    if not build.database.has_slices():
        why = f"; {build.problems[0]}" if build.problems else "; see the annotation CSV's sop_uid"
        raise DatabaseError(f"no annotated series that config/series_rules.toml takes was found{why}")


def _series_to_read(
    build: Build, labels: dict[Key, SourcedAnnotations], existing: dict[Key, ExistingSlice]
) -> Iterator[Series]:
    """Yield every new series to take, and of a known series its slices if any of them gets its first annotation.

    Slices of a series that is not taken are ignored with the reason.
    """
    rules = read_rules()
    for series in build.archive.series:
        keys = _keys(series)
        if any(key in existing for key in keys):
            compare(build, series, existing)
            if any(key in existing and not existing[key].annotations and key in labels for key in keys):
                known = [image for image, key in zip(series.slices, keys, strict=True) if key in existing]
                yield replace(series, slices=known)
        elif reason := _reason_not_taken(series, labels, rules):
            for image in series.slices:
                image.set_aside(IGNORED, reason)
        else:
            yield series


def _reason_not_taken(series: Series, labels: dict[Key, SourcedAnnotations], rules: list[Rule]) -> Message:
    """Return why a new series is not taken, or an empty message."""
    reason = decide(series, rules).reason
    if reason:
        return reason
    if not series.patient_id.strip():
        return message(
            "(0010,0020) Patient ID is empty: the patient cannot be told from others, so no side of a split is safe"
        )
    if not any(key in labels for key in _keys(series)):
        return message("no slice of the series is annotated")
    return EMPTY


def _readings(
    build: Build,
    to_read: list[Series],
    labels: dict[Key, SourcedAnnotations],
    existing: dict[Key, ExistingSlice],
) -> list[_Reading]:
    """Return for each series the means to decode it and to plan its samples."""
    new = {key: together(annotation for _, annotation in sourced) for key, sourced in labels.items()}
    old = {key: together(known.annotations.values()) for key, known in existing.items() if known.annotations}
    windows = _windows(build, to_read, new | old)
    readings = []
    for series in to_read:
        keys = _keys(series)
        plans = [None if key in old else _Plan(new.get(key, SliceAnnotation()), windows.get(key, [])) for key in keys]
        patient = existing[keys[0]].patient if keys[0] in existing else build.patient_hash(series)
        readings.append(_Reading(series, patient, plans, build.options.split.seed))
    return readings


def _windows(build: Build, to_read: list[Series], annotated: dict[Key, SliceAnnotation]) -> dict[Key, list[float]]:
    """Return how many windows to take round each box of each slice.

    The number depends on all lesions, those in the database included. Windows of earlier runs keep theirs.
    """
    by_series = build.database.slice_keys()
    known = {key for keys in by_series for key in keys}
    by_series += [keys for keys in map(_keys, to_read) if keys[0] not in known]
    windows = windows_per_box([[annotated.get(key, SliceAnnotation()) for key in keys] for keys in by_series])
    return {
        key: windows_of_slice
        for keys, windows_of_series in zip(by_series, windows, strict=True)
        for key, windows_of_slice in zip(keys, windows_of_series, strict=True)
    }


def _read_series(reading: _Reading) -> tuple[list[FileRecord], list[_ReadSlice]]:
    """Decode a series and plan its samples.

    Returns:
        The record of each slice's file after decoding, and the results for the slices that could be decoded.
    """
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
    labels: dict[Key, SourcedAnnotations],
    existing: dict[Key, ExistingSlice],
) -> None:
    """Insert a series if it is new, and the annotations of those of its slices that had none."""
    series_number = None
    for result in read:
        image = series.slices[result.place]
        key = image.sop_uid, image.frame
        if key not in existing:
            if series_number is None:
                series_number = build.database.insert_series(build.patient_hash(series), series)
            slice_number = build.database.insert_slice(series_number, image, result.pixel_sha256)
        elif existing[key].annotations:
            continue
        else:
            slice_number = existing[key].slice
        for file, annotation in labels.get(key, []):
            build.database.insert_annotation(slice_number, build.label_file_row(file), annotation)
        build.samples += [replace(sample, slice=slice_number) for sample in result.samples]


def _keys(series: Series) -> list[Key]:
    """Return the UID and frame of each slice of a series."""
    return [(image.sop_uid, image.frame) for image in series.slices]
