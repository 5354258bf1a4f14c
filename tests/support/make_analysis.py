"""Models that were never trained, and analyses made by hand, for tests of what becomes of results."""

from pathlib import Path

import numpy as np

from nbcad.dicom import USED, FileRecord, Geometry, Series, Slice
from nbcad.dicom.age import Age
from nbcad.imaging.boxes import whole_pixels
from nbcad.infer import Input, infer
from nbcad.inference import organ
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.inference.calibration import Calibration
from nbcad.inference.heat import FCN, TRAIN_VAL
from nbcad.inference.lesions import Lesion, OperatingPoint
from nbcad.inference.measure import diameters_mm, millimetres, volume_mm3
from nbcad.inference.models import Models
from nbcad.inference.organ import OrganSvm, SvmFit, SvmThresholds
from nbcad.inference.study_stage import StudyStage, by_name
from nbcad.inference.suitability import (
    SUITED,
    UNSUITED,
    Likeness,
    Suitability,
    SuitabilityLimits,
    TrainingData,
    of_study,
)
from nbcad.language.message import EMPTY
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe
from nbcad.nets.labels import organ_labels, stage_labels
from nbcad.report import Language, Pages
from nbcad.report.entries import SCHEMA, patient_entry
from nbcad.report.patient import PatientAnalysis
from nbcad.report.types import (
    BoxEntry,
    FileEntry,
    LesionEntry,
    OrganEntry,
    Report,
    SeriesEntry,
    SliceEntry,
    Software,
    StudyEntry,
    Summary,
    Timing,
)

INSS = ["normal", "1", "2A", "2B", "3", "4", "4S"]
TRAINED_ON = TrainingData(
    synthetic=False, patients=9, age_months=(0, 144), weightings=("T1", "T2", "DWI"), slice_step_mm=None
)
SUITABLE = Suitability(SUITED, ())
AXIAL = np.eye(3)[0], np.eye(3)[1]


class _EverySlice:
    """Stands for the SVMs and the density: every slice is as much like the first region, and like those trained on."""

    def predict_proba(self, features):
        return np.tile([0.7, 0.2, 0.1], (len(features), 1))

    def score_samples(self, features):
        return np.zeros(len(features))


def untrained(threshold: float) -> Models:
    """Both nets with the values of their fillers, and an SVM that sorts nothing."""
    caffe.set_random_seed(5)
    fit = SvmFit("exact", C=1.0, gamma=1.0, chosen_on_samples=0, cross_validation_accuracy=0.0, folds=0, samples=0,
                 patients=0)  # fmt: skip
    svm = OrganSvm(_EverySlice(), _EverySlice(), SvmThresholds(0, 0), "fc7", organ_labels(), fit)
    return Models(
        organ_net=caffe_net.load_net(organ.DEPLOY),
        organ_transform=caffe_net.transform_of(organ.TRAIN_VAL),
        svm=svm,
        likeness=Likeness(_EverySlice(), SuitabilityLimits(0, 0, 0, 0)),
        stage_fcn=caffe_net.load_net(FCN),
        stage_transform=caffe_net.transform_of(TRAIN_VAL),
        point=OperatingPoint(threshold, threshold),
        calibration=Calibration(),
        stages=stage_labels(),
        trained_on=TRAINED_ON,
        n4=False,
        device="cpu",
        sha256={"organ_net": "0" * 64},
    )


def lesion(boxes: dict[int, tuple], stages=(0.1, 0.2, 0.3, 0.4), probability=0.9, centre=None) -> Lesion:
    """A lesion; by default its centre is the middle of its boxes."""
    if centre is None:
        row0, col0, row1, col1 = np.mean(list(boxes.values()), axis=0)
        centre = (float(np.mean(list(boxes))), (row0 + row1) / 2 - 0.5, (col0 + col1) / 2 - 0.5)
    return Lesion(boxes, probability, np.array(stages, float), centre)


def analysis(
    lesions=(), count=3, shape=(24, 20), spacing=(2.0, 2.0), axes=AXIAL, step_mm=5.0, suitability=SUITABLE, **series
) -> SeriesAnalysis:
    """An analysis of a black series; ``axes`` None leaves it without geometry, ``series`` replaces its facts."""
    slices = []
    for n in range(count):
        geometry = None
        if axes is not None:
            place = np.array([-20.0, 7.0, 30.0]) + n * step_mm * np.cross(*axes)
            geometry = Geometry(place, *axes, *spacing)
        slices.append(Slice(None, f"2.25.{n + 1}", *shape, geometry, spacing, FileRecord(f"IM{n}", USED), stored=None))
    facts = {
        "study_uid": "2.25.1", "series_uid": "2.25.2", "patient_id": "P1", "age": Age.exactly(12), "description": "T2",
        "weighting": "T2", "plane": "axial", "phantom": False,
    }  # fmt: skip
    heat = np.full((count, 5, 7, 6), 0.1, np.float32)
    heat[:, 0] = 0.6
    return SeriesAnalysis(
        series=Series(**facts | series, slices=slices),
        slices=slices,
        volume=np.zeros((count, *shape), np.uint8),
        organs=["adrenal"] * count,
        organ_probabilities=np.tile([0.7, 0.2, 0.1], (count, 1)),
        heat=heat,
        suitability=suitability,
        lesions=list(lesions),
    )


def patient_of(*series: SeriesAnalysis, number=1, patients=1, files=(), stage=None) -> PatientAnalysis:
    """A patient with one study of these series, all analysed, as `infer` hands it on."""
    first = series[0].series
    study = StudyEntry(
        suitability=of_study([one.suitability for one in series]),
        study_uid=first.study_uid,
        patient=patient_entry(first.patient_id, first.age),
        stage=stage or StudyStage("M", {"normal": 0.1, "M": 0.9}, ()),
        series=tuple(map(series_entry, series)),
    )
    return PatientAnalysis(number, patients, 1, (study,), [list(series)], tuple(files), summary([study], files))


def series_entry(analysis: SeriesAnalysis) -> SeriesEntry:
    return SeriesEntry(
        series_uid=analysis.series.series_uid,
        description=analysis.series.description,
        stack=analysis.series.stack,
        status="analysed",
        rule="1",
        reason=EMPTY,
        notes=tuple(analysis.series.notes),
        suitability=analysis.suitability,
        slices=tuple(
            SliceEntry(image.sop_uid, image.frame, OrganEntry(organ, by_name(organ_labels(), shares)), float(tumour))
            for image, organ, shares, tumour in zip(
                analysis.slices, analysis.organs, analysis.organ_probabilities, analysis.tumour, strict=True
            )
        ),
        lesions=tuple(lesion_entry(n, found, analysis) for n, found in enumerate(analysis.lesions, start=1)),
        dicom=(),
    )


def lesion_entry(number: int, found: Lesion, analysis: SeriesAnalysis) -> LesionEntry:
    centre, corners = millimetres(found, analysis)
    return LesionEntry(
        id=number,
        probability=found.probability,
        site="thorax",
        side="left",
        centre_mm=centre,
        box_mm=corners,
        diameters_mm=diameters_mm(found, analysis),
        volume_mm3=volume_mm3(found, analysis),
        first_slice=min(found.boxes) + 1,
        last_slice=max(found.boxes) + 1,
        boxes=tuple(BoxEntry(analysis.slices[n].sop_uid, 0, *whole_pixels(box)) for n, box in found.boxes.items()),
    )


def summary(studies: list[StudyEntry], files) -> Summary:
    series = [entry for study in studies for entry in study.series]
    return Summary(
        studies=len(studies),
        studies_without_answer=sum(study.suitability.verdict == UNSUITED for study in studies),
        series=len(series),
        **{f"files_{name}": sum(f.status == name for f in files) for name in ("used", "refused", "ignored")},
        frames_refused=0,
        slices=sum(len(entry.slices) for entry in series),
        lesions=sum(len(entry.lesions) for entry in series),
    )


def pages_of(folder: Path, *patients: PatientAnalysis, language: str = "en", files: list[FileEntry] = ()) -> Path:
    """Write the pages of patients made by hand; returns report.html."""
    software = Software(TRAINED_ON, "0", "0", "0", "cpu", {})
    pages = Pages(folder, Language(language), software)
    for patient in patients:
        pages.add(patient)
    studies = tuple(study for patient in patients for study in patient.studies)
    counts, timing = summary(studies, files), Timing(0.0, 0.0, 0.0)
    pages.close(Report(SCHEMA, True, software, counts, studies, tuple(files), "/1", timing))
    return folder / "report.html"


class Kept:
    """A writer that hands each patient's analysis to ``write`` and writes no file."""

    def __init__(self, write):
        self.write = write

    def take(self, written) -> None:
        pass

    def close(self, report) -> None:
        pass


def report_of(path: Path, models: Models, write=lambda patient: None, only_series: str | None = None) -> Report:
    """The report of what is below a path; each patient's analysis is handed to ``write``."""
    return infer(Input(path, only_series), models, Kept(write))
