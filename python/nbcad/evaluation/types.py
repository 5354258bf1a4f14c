"""The figures as data: metrics.json holds these classes, each with its fields in this order.

docs/formats/metrics.schema.json describes every field.
"""

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from nbcad.evaluation.bootstrap import Figure
from nbcad.inference.lesions import OperatingPoint
from nbcad.runtime.json_file import ABSENT

_Five = TypeVar("_Five", bound="FiveMeasures")
_Lesions = TypeVar("_Lesions", bound="LesionMeasures")
Curve = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RocBand:
    """The interval of the sensitivity over the false-positive rate."""

    false_positive_rate: Curve
    low: Curve
    high: Curve


@dataclass(frozen=True, slots=True)
class Roc:
    """A receiver operating characteristic; only its ``auc`` where there is but one kind of case."""

    auc: Figure
    false_positive_rate: Curve | None = field(default=None, metadata=ABSENT)
    sensitivity: Curve | None = field(default=None, metadata=ABSENT)
    band: RocBand | None = field(default=None, metadata=ABSENT)  # of two patients at least


@dataclass(frozen=True, slots=True)
class FrocPoint:
    """The lesions found at one threshold."""

    threshold: float
    sensitivity: float
    false_per_patient: float


@dataclass(frozen=True, slots=True)
class FrocBand:
    """The most that any threshold finds over false lesions per patient, with its interval."""

    false_per_patient: Curve
    sensitivity: Curve
    low: Curve
    high: Curve


@dataclass(frozen=True, slots=True)
class Froc:
    """A free-response ROC; no points and no band where there is no lesion."""

    points: tuple[FrocPoint, ...]
    at: dict[str, Figure]  # the curve by the false lesions per patient, as text
    band: FrocBand | None


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts: true label by row, answer by column."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The cases with a probability of one tenth."""

    from_: float
    to: float
    mean_probability: float | None  # None: no case
    share: Figure  # that is so


@dataclass(frozen=True, slots=True)
class CalibrationFigures:
    """The calibration: a probability p should come true in a share p of the cases."""

    brier: Figure
    over_confidence: Figure
    bins: tuple[CalibrationBin, ...]


@dataclass(frozen=True, slots=True)
class FiveMeasures:
    """The paper's five measures of a yes-or-no decision, and its four counts."""

    sensitivity: Figure
    specificity: Figure
    accuracy: Figure
    miss_rate: Figure
    false_positive_rate: Figure
    tp: int
    fn: int
    tn: int
    fp: int

    def extended(self, kind: type[_Five], **more: Any) -> _Five:
        """Return the same measures with ``more`` that another class adds."""
        return kind(**{one.name: getattr(self, one.name) for one in fields(FiveMeasures)}, **more)


@dataclass(frozen=True, slots=True)
class RankedMeasures(FiveMeasures):
    """The five measures of a decision by a score."""

    roc: Roc


@dataclass(frozen=True, slots=True)
class SliceMeasures(RankedMeasures):
    """The five measures of the tumour by slice."""

    calibration: CalibrationFigures


@dataclass(frozen=True, slots=True)
class LesionMeasures:
    """The five measures by lesion; those that need a count of places without a lesion are not defined."""

    sensitivity: Figure
    specificity: Figure
    accuracy: Figure
    miss_rate: Figure
    false_positive_rate: Figure
    false_per_patient: Figure
    true: int
    found: int  # of the true ones
    false: int  # found ones that are none

    def extended(self, kind: type[_Lesions], **more: Any) -> _Lesions:
        """Return the same measures with ``more`` that another class adds."""
        return kind(**{one.name: getattr(self, one.name) for one in fields(LesionMeasures)}, **more)


@dataclass(frozen=True, slots=True)
class Overlaps:
    """Intersection over union of true lesions with the found ones."""

    median_of_found: Figure
    mean_missed_as_0: Figure
    share_at_least: dict[str, Figure]  # by the least overlap, as text
    of_found: Curve  # ascending


@dataclass(frozen=True, slots=True)
class Distances:
    """Distances in mm between the centres of true lesions and those of the found ones."""

    median_of_found: Figure
    of_found: Curve  # ascending


@dataclass(frozen=True, slots=True)
class LesionFigures(LesionMeasures):
    """All figures by lesion."""

    iou: Overlaps
    centre_distance_mm: Distances


@dataclass(frozen=True, slots=True)
class OrganFigures:
    """The figures of the region of slices."""

    accuracy: Figure
    one_against_rest: dict[str, RankedMeasures]  # by region
    confusion: Confusion
    calibration: CalibrationFigures
    slices: int  # with a known region
    slices_without_label: int
    of_these_other: int


@dataclass(frozen=True, slots=True)
class TumourFigures:
    """The figures of the tumour."""

    slice: SliceMeasures
    lesion: LesionFigures
    patient: RankedMeasures
    froc: Froc


@dataclass(frozen=True, slots=True)
class StageFigures:
    """The figures of the stage of patients."""

    accuracy: Figure
    one_against_rest: dict[str, FiveMeasures]  # by stage
    confusion: Confusion
    calibration: CalibrationFigures


@dataclass(frozen=True, slots=True)
class StratumRow:
    """The figures of one group of lesions and patients."""

    group: str
    lesion: LesionMeasures
    stage_accuracy: Figure


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of the models."""

    organ: OrganFigures
    tumour: TumourFigures
    stage: StageFigures
    strata: dict[str, tuple[StratumRow, ...]]  # by what the groups differ in


@dataclass(frozen=True, slots=True)
class Baseline:
    """A simpler method that the models are compared with."""

    name: str
    accuracy: Figure


@dataclass(frozen=True, slots=True)
class MetricsSoftware:
    """The software and the models that were measured."""

    nbcad: str
    caffe: str
    python: str
    models: dict[str, str]  # SHA-256 by name


@dataclass(frozen=True, slots=True)
class ModelFolders:
    """The folders of the models that were measured."""

    organ: str
    stage: str


@dataclass(frozen=True, slots=True)
class MeasuredData:
    """The images that were measured on."""

    split: str
    patients: int
    series: int
    slices: int
    lesions: int  # true ones
    pixels_sha256: str


@dataclass(frozen=True, slots=True)
class BootstrapFacts:
    """The settings of the bootstrap."""

    unit: str
    method: str
    level: float
    resamples: int
    seed: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """All of metrics.json."""

    schema: str
    research_use_only: bool
    synthetic: bool
    software: MetricsSoftware
    models: ModelFolders
    operating_point: OperatingPoint
    data: MeasuredData
    bootstrap: BootstrapFacts
    organ: OrganFigures
    tumour: TumourFigures
    stage: StageFigures
    strata: dict[str, tuple[StratumRow, ...]]
    baselines: dict[str, tuple[Baseline, ...]]  # by task
    definitions: dict[str, str]  # by name
