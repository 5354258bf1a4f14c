"""The entries of a report: of files, studies, series, slices and lesions."""

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import nbcad
from nbcad.dicom import USED, Archive, FileRecord, Series
from nbcad.dicom.age import Age
from nbcad.dicom.rules import Decision
from nbcad.imaging.boxes import Box, whole_pixels
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.inference.lesions import Lesion
from nbcad.inference.measure import diameters_mm, millimetres, volume_mm3
from nbcad.inference.models import Models
from nbcad.inference.site import Situations
from nbcad.inference.study_stage import StudyStage, by_name, rounded
from nbcad.inference.suitability import of_study
from nbcad.language.message import Message, joined, message, verbatim
from nbcad.nets import caffe_net
from nbcad.report.types import (
    BoxEntry,
    FileEntry,
    LesionEntry,
    OrganEntry,
    PatientEntry,
    Report,
    SeriesEntry,
    SliceEntry,
    Software,
    StudyEntry,
    Summary,
    Timing,
)

SCHEMA = "nbcad-report/2"
SCHEMAS = ("nbcad-report/1", SCHEMA)  # all that a report of ours may have
SYNTHETIC = message("Synthetic: (0028,0300) Quality Control Image is YES, so this is a phantom and no patient.")


def whole_report(
    archive: Archive, studies: Iterable[StudyEntry], models: Models, origin: str, seconds: dict[str, float]
) -> Report:
    """Return the report of an input.

    Args:
        archive: all its series and files, each set aside or not.
        studies: their entries.
        models: the trained models.
        origin: the input as the report names it.
        seconds: by step, see `Timing`.
    """
    studies = tuple(studies)
    return Report(
        schema=SCHEMA,
        research_use_only=True,
        software=software(models),
        summary=summary(studies, archive.files),
        studies=studies,
        files=tuple(map(file_entry, archive.files)),
        origin=origin,
        timing_s=Timing(**{step: round(value, 3) for step, value in seconds.items()}),
    )


def software(models: Models) -> Software:
    """Return the software and the models that make a report."""
    return Software(
        trained_on=models.trained_on,
        nbcad=nbcad.__version__,
        caffe=caffe_net.caffe.__version__,
        python=platform.python_version(),
        device=models.device,
        models=models.sha256,
    )


def summary(studies: Sequence[StudyEntry], records: Sequence[FileRecord]) -> Summary:
    """Return the counts over some studies and files."""
    status = Counter(record.status for record in records)
    every = [entry for study in studies for entry in study.series]
    return Summary(
        studies=len(studies),
        studies_without_answer=sum(not study.suitability.answered for study in studies),
        series=len(every),
        files_used=status["used"],
        files_refused=status["refused"],
        files_ignored=status["ignored"],
        frames_refused=sum(record.refused_frames for record in records if record.status == USED),
        slices=sum(len(entry.slices) for entry in every),
        lesions=sum(len(entry.lesions) for entry in every),
    )


def file_entry(record: FileRecord) -> FileEntry:
    """Return the entry of one file."""
    return FileEntry(record.path, record.status, record.reason)


def patient_entry(patient_id: str, age: Age | None) -> PatientEntry:
    """Return the entry of one patient."""
    if age is None:
        return PatientEntry(patient_id, None, None)
    return PatientEntry(patient_id, age.months, (age.least_months, age.most_months))


def study_entry(
    decided: list[tuple[Series, Decision]],
    analyses: list[SeriesAnalysis | None],
    suggested: StudyStage,
    age: Age | None,
    models: Models,
) -> StudyEntry:
    """Return the entry of one study.

    Args:
        decided: its series, and why those that were not analysed were not.
        analyses: of each series, or None.
        suggested: the stage of its patient.
        age: of its patient, or None.
        models: the trained models.
    """
    first, _ = decided[0]
    notes = []
    found = [analysis for analysis in analyses if analysis]
    if len(found) > 1:
        names = joined((_name(one.series) for one in found), message(", "))
        notes.append(message("{count} series were analysed: {names}.", count=len(found), names=names))
    if any(series.phantom for series, _ in decided):
        notes.append(SYNTHETIC)
    return StudyEntry(
        suitability=of_study([analysis.suitability for analysis in found]),
        study_uid=first.study_uid,
        patient=patient_entry(first.patient_id, age),
        stage=replace(suggested, notes=(*suggested.notes, *notes)),
        series=tuple(
            _series_entry(series, analysis, decision, models)
            for (series, decision), analysis in zip(decided, analyses, strict=True)
        ),
    )


def _name(series: Series) -> Message:
    name = series.description or series.series_uid
    return message("{name} ({stack})", name=name, stack=series.stack) if series.stack else verbatim(name)


def _series_entry(series: Series, analysis: SeriesAnalysis | None, decision: Decision, models: Models) -> SeriesEntry:
    notes = list(series.notes)
    if analysis and len(analysis.slices) < len(series.slices):
        unread = len(series.slices) - len(analysis.slices)
        notes.append(message("{bad} of its {count} images cannot be read", bad=unread, count=len(series.slices)))
    return SeriesEntry(
        series_uid=series.series_uid,
        description=series.description,
        stack=series.stack,
        status="analysed" if analysis else "refused",
        rule=decision.rule,
        reason=decision.reason,
        notes=tuple(notes),
        suitability=analysis.suitability if analysis else None,
        slices=_slice_entries(analysis, models) if analysis else (),
        lesions=lesion_entries(analysis) if analysis else (),
        dicom=(),
    )


def _slice_entries(analysis: SeriesAnalysis, models: Models) -> tuple[SliceEntry, ...]:
    return tuple(
        SliceEntry(
            sop_uid=image.sop_uid,
            frame=image.frame,
            organ=OrganEntry(organ, by_name(models.svm.labels, probabilities)),
            tumour_probability=rounded(tumour),
        )
        for image, organ, probabilities, tumour in zip(
            analysis.slices, analysis.organs, analysis.organ_probabilities, analysis.tumour, strict=True
        )
    )


def lesion_entries(analysis: SeriesAnalysis) -> tuple[LesionEntry, ...]:
    """Return the entries of all lesions of a series."""
    situations = Situations(analysis)
    return tuple(
        _lesion_entry(number, lesion, analysis, situations) for number, lesion in enumerate(analysis.lesions, start=1)
    )


def _lesion_entry(number: int, lesion: Lesion, analysis: SeriesAnalysis, situations: Situations) -> LesionEntry:
    side, site = situations.of(lesion.boxes)
    centre, corners = millimetres(lesion, analysis)
    return LesionEntry(
        id=number,
        probability=rounded(lesion.probability),
        site=site,
        side=side,
        centre_mm=centre,
        box_mm=corners,
        diameters_mm=diameters_mm(lesion, analysis),
        volume_mm3=volume_mm3(lesion, analysis),
        first_slice=min(lesion.boxes) + 1,
        last_slice=max(lesion.boxes) + 1,
        boxes=tuple(_box_entry(analysis, index, box) for index, box in lesion.boxes.items()),
    )


def _box_entry(analysis: SeriesAnalysis, index: int, box: Box) -> BoxEntry:
    image = analysis.slices[index]
    return BoxEntry(image.sop_uid, image.frame, *whole_pixels(box))
