"""Pixels of a series: each file is read once, frame by frame, within the bounds of one file."""

import hashlib
import time
import warnings
from collections.abc import Iterator
from itertools import islice

import numpy as np
from pydicom.encaps import generate_frames

from nbcad.dicom import codestream, decoder
from nbcad.dicom.header import without_deflation
from nbcad.dicom.refusal import MALFORMED, Refusal, one_line
from nbcad.dicom.sources import REFUSED, BoundedFile, Budget, Source
from nbcad.dicom.types import Series, Slice, StoredPixels
from nbcad.language.message import message, verbatim

_COMPRESSED_BYTES_A_BYTE = 2  # of noise, and more than that is none of its frames


def read_pixels(series: Series) -> tuple[list[Slice], np.ndarray]:
    """Decode a series.

    A slice whose pixels cannot be decoded, or are all equal, is refused in its `FileRecord` and left out.

    Returns:
        The slices that could be read and their pixels, float32, shape (slices, rows, columns), after the rescaling
        (DICOM PS3.3 C.11.1) and with MONOCHROME1 inverted, so that larger is brighter.
    """
    if not series.slices:
        return [], np.empty((0, 0, 0), np.float32)
    volume = np.empty((len(series.slices), series.slices[0].rows, series.slices[0].columns), np.float32)
    places = {(image.source, image.frame): place for place, image in enumerate(series.slices)}
    by_file: dict[Source, list[Slice]] = {}
    for image in series.slices:
        by_file.setdefault(image.source, []).append(image)
    sound = np.zeros(len(volume), bool)
    for source, images in by_file.items():
        for image, stored in _read_file(source, images):
            place = places[source, image.frame]
            try:
                volume[place] = _brightness(stored, image)
                sound[place] = True
            except Refusal as refusal:
                image.set_aside(REFUSED, refusal.reason)
    if sound.all():
        return list(series.slices), volume
    slices = [image for image, good in zip(series.slices, sound, strict=True) if good]
    return slices, volume[sound] if slices else np.empty((0, 0, 0), np.float32)


def stored_digest(image: Slice) -> bytes:
    """Return a hash of a slice's pixels as stored, empty if they cannot be read."""
    for _, stored in _read_file(image.source, [image], refuse=False):
        return hashlib.sha256(repr(image.rescale).encode() + stored.tobytes()).digest()
    return b""


def _read_file(source: Source, images: list[Slice], refuse: bool = True) -> Iterator[tuple[Slice, np.ndarray]]:
    """Those of one file's slices that can be decoded, with their stored values; the others are refused."""
    pixels = images[0].stored
    wanted = {image.frame: image for image in images}
    try:
        with images[0].record.budget() as budget, source.open(budget) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for number, frame in _frames(without_deflation(file), pixels, sorted(wanted)):
                image = wanted.pop(number)
                try:
                    yield image, _decode(frame, pixels, budget)
                except Refusal as refusal:
                    if refuse:
                        image.set_aside(REFUSED, refusal.reason)
            reason = message(
                "(7FE0,0010) Pixel Data has not the {count} frames of (0028,0008) Number of Frames", count=pixels.frames
            )
    except Refusal as refusal:
        reason = refusal.reason
    except MALFORMED as error:
        reason = decoder.not_decoded(verbatim(one_line(error))).reason
    if refuse:
        for image in wanted.values():
            image.set_aside(REFUSED, reason)


def _frames(file: BoundedFile, pixels: StoredPixels, wanted: list[int]) -> Iterator[tuple[int, bytes]]:
    """Encoded frames by their number."""
    if not pixels.encapsulated:
        for number in wanted:
            file.seek(pixels.offset + number * pixels.frame_bytes)
            yield number, file.read(pixels.frame_bytes)
        return
    file.budget.bytes = _COMPRESSED_BYTES_A_BYTE * pixels.frames * pixels.frame_bytes + (1 << 20)
    file.seek(pixels.offset)
    frames = generate_frames(file, number_of_frames=pixels.frames, extended_offsets=pixels.frame_offsets)
    for number, frame in enumerate(islice(frames, wanted[-1] + 1)):
        if number in wanted:
            yield number, frame


def _decode(frame: bytes, pixels: StoredPixels, budget: Budget) -> np.ndarray:
    budget.charge()
    if pixels.encapsulated:
        codestream.check(frame, pixels)
        return decoder.decode(frame, pixels, budget.deadline - time.monotonic())
    try:
        return decoder.decode_here(frame, pixels)
    except MALFORMED as error:
        raise decoder.not_decoded(verbatim(one_line(error))) from error


def _brightness(stored: np.ndarray, image: Slice) -> np.ndarray:
    """Stored values after the rescaling, larger being brighter; float32, same shape."""
    if stored.shape != (image.rows, image.columns):
        raise Refusal(message("(7FE0,0010) Pixel Data has shape {shape}", shape=str(stored.shape)))
    if stored.min() == stored.max():
        raise Refusal(message("(7FE0,0010) Pixel Data: all pixels are equal, {value}", value=str(stored.flat[0])))
    slope, intercept = image.rescale
    with np.errstate(over="ignore"):
        values = (stored if (slope, intercept) == (1, 0) else stored * slope + intercept).astype(np.float32)
    if not np.isfinite(values).all():
        raise Refusal(
            message(
                "(0028,1053) Rescale Slope {value} makes pixels that are no finite float32 numbers", value=f"{slope:g}"
            )
        )
    if values.min() == values.max():
        raise Refusal(message("(0028,1053) Rescale Slope {value} makes all pixels equal", value=f"{slope:g}"))
    return -values if image.stored.inverted else values
