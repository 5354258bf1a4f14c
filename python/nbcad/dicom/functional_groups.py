"""Frames of an Enhanced object as if each had a header of its own (DICOM PS3.3 C.7.6.16, C.8.13.5)."""

from collections.abc import Iterator

from pydicom.charset import default_encoding
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_sequence_item

from nbcad.dicom.header import Values
from nbcad.dicom.refusal import MALFORMED, Refusal, one_line
from nbcad.dicom.sources import Budget, in_memory
from nbcad.language.message import message

# Macro's sequence -> its attribute -> the attribute of a classic image that means the same.
_MACROS = {
    "PixelMeasuresSequence": {"PixelSpacing": "PixelSpacing"},
    "PlaneOrientationSequence": {"ImageOrientationPatient": "ImageOrientationPatient"},
    "PlanePositionSequence": {"ImagePositionPatient": "ImagePositionPatient"},
    "PixelValueTransformationSequence": {"RescaleSlope": "RescaleSlope", "RescaleIntercept": "RescaleIntercept"},
    "MRImageFrameTypeSequence": {
        "FrameType": "ImageType",
        "AcquisitionContrast": "AcquisitionContrast",
        "ComplexImageComponent": "ComplexImageComponent",
    },
    "MRTimingAndRelatedParametersSequence": {"RepetitionTime": "RepetitionTime"},
    "MREchoSequence": {"EffectiveEchoTime": "EchoTime"},
    "MRDiffusionSequence": {"DiffusionBValue": "DiffusionBValue"},
    "CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": "TriggerTime"},
    "FrameContentSequence": {
        "TemporalPositionIndex": "TemporalPositionIdentifier",
        "StackID": "StackID",
        "FrameAcquisitionNumber": "AcquisitionNumber",
    },
}
_DIRECTION = ("MRDiffusionSequence", "DiffusionGradientDirectionSequence", "DiffusionGradientOrientation")
_MAP = ("RealWorldValueSlope", "RealWorldValueIntercept")
_OF_FRAMES = {name for names in _MACROS.values() for name in names.values()} | {_DIRECTION[-1], *_MAP, "InstanceNumber"}


def frames(dataset: Dataset, values: Values, number: int, budget: Budget) -> Iterator[Values | Refusal]:
    """Header values of each of an Enhanced object's frames; in the place of one that cannot be read, the reason.

    What an object states once stands beside what is described frame by frame, but never in its place.

    Raises:
        Refusal: the functional groups do not belong to so many frames.
    """
    common = {keyword: value for keyword, value in values.items() if keyword not in _OF_FRAMES}
    common["ImageTypeOfObject"] = values.get("ImageType")  # of its frames, too, if not in full: then MIXED
    for shared in items(dataset, "SharedFunctionalGroupsSequence", budget):
        common |= _values(shared, budget)
    found = 0
    for item in items(dataset, "PerFrameFunctionalGroupsSequence", budget):
        found += 1
        if found > number:
            raise Refusal(
                message(
                    "(5200,9230) Per-frame Functional Groups Sequence has more items than the {count} frames",
                    count=number,
                )
            )
        try:
            own = _values(item, budget)
        except MALFORMED as error:
            yield Refusal(message("functional groups cannot be read: {error}", error=one_line(error)))
        else:
            yield common | own | {"InstanceNumber": found}
    for _ in range(found, number):
        yield Refusal(
            message(
                "(5200,9230) Per-frame Functional Groups Sequence has {found} items for {count} frames",
                found=found,
                count=number,
            )
        )


def _values(item: Dataset, budget: Budget) -> dict:
    values: dict = {}
    for sequence, attributes in _MACROS.items():
        for group in items(item, sequence, budget):
            values |= {name: group.get(own) for own, name in attributes.items() if own in group}
            if sequence == _DIRECTION[0]:
                for direction in items(group, _DIRECTION[1], budget):
                    values[_DIRECTION[2]] = direction.get(_DIRECTION[2])
            break
    return values | real_world_map(item, budget)


def items(dataset: Dataset, keyword: str, budget: Budget) -> Iterator[Dataset]:
    """Items of a sequence, one after another, as far as the budget goes.

    pydicom parses a sequence as a whole when it is first looked at: millions of empty items would fill the memory.
    """
    if keyword not in dataset:
        return
    element = dataset.get_item(keyword)
    if not isinstance(element, RawDataElement):  # of undefined length: parsed already, under the same budget
        yield from element.value
        return
    data = element.value or b""
    file = in_memory(data, budget)
    while file.tell() < len(data):
        item = read_sequence_item(file, element.is_implicit_VR, element.is_little_endian, default_encoding)
        if item is None:
            return
        yield item


def real_world_map(dataset: Dataset, budget: Budget) -> Values:
    """Slope and intercept of a data set's real-world value maps, if there is exactly one and that one is linear."""
    maps = list(items(dataset, "RealWorldValueMappingSequence", budget))
    if len(maps) != 1 or not all(keyword in maps[0] for keyword in _MAP):
        return {}
    return {keyword: maps[0].get(keyword) for keyword in _MAP}
