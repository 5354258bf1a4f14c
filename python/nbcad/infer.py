"""The use case: DICOM in, report out. `infer` is the whole flow, the functions behind it its parts.

The steps from a series' pixels to its lesions are in `inference.analysis.analyse_series`, which evaluation calls too.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from nbcad.cluster import on
from nbcad.dicom import IGNORED, Archive, Series, read_archive
from nbcad.dicom.age import age_of_all
from nbcad.dicom.room import Room
from nbcad.dicom.rules import Decision, decide, read_rules
from nbcad.errors import InputError
from nbcad.inference.analysis import SeriesAnalysis, analyse_series
from nbcad.inference.models import Models
from nbcad.inference.patients import DecidedSeries, Patient, by_patient, work_on_patients
from nbcad.inference.study_stage import study_stage
from nbcad.language.message import message
from nbcad.report.entries import file_entry, software, study_entry, summary, whole_report
from nbcad.report.output import report_folder
from nbcad.report.patient import PatientAnalysis
from nbcad.report.types import Report, StudyEntry
from nbcad.report.writer import ReportWriter
from nbcad.runtime.parallel import Map


@dataclass(frozen=True)
class Input:
    """The images to be analysed."""

    path: Path  # DICOM folder, file or zip
    only_series: str | None = None  # a SeriesInstanceUID that is analysed whatever the rules say, and nothing else
    origin: str = ""  # what the report names in place of ``path``, if that is a copy for the time of the analysis


class Writer(Protocol):
    """A consumer of the results, such as `ReportWriter`."""

    @property
    def write(self) -> Callable[[PatientAnalysis], Any]:
        """Called for each patient where that is analysed; the analysis, with its images, is not kept."""

    def take(self, written: Any) -> None:
        """Take in this process, in the order of patients, what ``write`` returned."""

    def close(self, report: Report) -> None:
        """Take the whole report."""


@dataclass
class _Clock:
    """Seconds spent in each step."""

    seconds: dict[str, float] = field(default_factory=lambda: {"read": 0.0, "analyse": 0.0, "write": 0.0})

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] += time.monotonic() - started

    def add(self, other: "_Clock") -> None:
        for name, value in other.seconds.items():
            self.seconds[name] += value


@dataclass(frozen=True)
class _Found:
    """The part of a patient that goes to the process that writes the report."""

    studies: tuple[StudyEntry, ...]
    written: object
    clock: _Clock


def write_report(
    images: Input, out: Path, models: Models, language: str, force: bool = False, dask: str | None = None
) -> Report:
    """Analyse an input and write its report.

    Args:
        images: to be analysed.
        out: folder of the report, see `report_folder`.
        models: the trained models.
        language: of the pages, one of `language.LANGUAGES`.
        force: replace a report.
        dask: see `cluster.on`.

    Raises:
        InputError, OutputError, WorkerError: see `infer`, `report_folder` and `cluster.on`.
    """
    with report_folder(out, images.path, force) as folder:
        needed = [images.path, folder, *(models.files.paths if models.files else ())]
        with on(dask, map, needed) as map_:
            return infer(images, models, ReportWriter(folder, language, software(models)), map_)


def infer(images: Input, models: Models, writer: Writer, map_: Map = map) -> Report:
    """Analyse an input, a patient at a time, and hand the results to a writer.

    Args:
        images: to be analysed.
        models: the trained models.
        writer: of the results.
        map_: where files are read, and where patients are analysed and written.

    Raises:
        InputError: nothing stands at the input's path, the series asked for is not in it, or the rules are malformed.
        WorkerError: see `parallel.Map`.
    """
    clock, rules = _Clock(), read_rules()
    with clock.step("read"):
        archive = _read(images, map_)  # DICOM -> series, or refused with a reason
    # Which series are like what the nets were trained on
    patients = by_patient(archive.series, Room(lambda series: decide(series, rules, images.only_series)))
    # Preprocessing -> organ -> heat and lesions -> stage, and the files of each patient
    infer_patient = partial(_infer_patient, writer.write)
    studies: list[StudyEntry] = []
    for found in work_on_patients(infer_patient, patients, models, map_):
        clock.add(found.clock)
        studies += found.studies
        with clock.step("write"):
            writer.take(found.written)
    report = whole_report(archive, studies, models, images.origin or str(images.path), clock.seconds)
    writer.close(report)
    return report


def _read(images: Input, map_: Map) -> Archive:
    """Return all series of an input, and its files under the names that the report gives them."""
    archive = read_archive(images.path, map_)
    if images.origin:
        for record in archive.files:
            record.path = images.origin + record.path.removeprefix(str(images.path))
    if images.only_series and images.only_series not in {series.series_uid for series in archive.series}:
        raise InputError(f"{images.origin or images.path} holds no readable MR series {images.only_series}")
    return archive


def _infer_patient(
    write: Callable[[PatientAnalysis], object], models: Models, done: Callable[[], object], patient: Patient
) -> _Found:
    """Analyse the studies of one patient and write what was found.

    Args:
        write: see `Writer`.
        models: the trained models.
        done: called after each series.
        patient: to be analysed.
    """
    clock = _Clock()
    with clock.step("analyse"):
        found = [_infer_study(members, models, done) for members in patient.studies]
    studies = tuple(study for study, _ in found)
    analysis = PatientAnalysis(
        number=patient.number,
        patients=patient.patients,
        first_series=patient.first_series,
        studies=studies,
        analyses=[analyses for _, analyses in found],
        files=tuple(map(file_entry, patient.records)),
        summary=summary(studies, patient.records),
    )
    with clock.step("write"):
        written = write(analysis)
    return _Found(analysis.studies, written, clock)


def _infer_study(
    members: list[DecidedSeries], models: Models, done: Callable[[], object]
) -> tuple[StudyEntry, list[SeriesAnalysis | None]]:
    """Return the report's entry of one study, and the analysis behind each of its series."""
    decided, analyses = [], []
    for series, decision in members:
        decision, analysis = _infer_series(series, decision, models)
        decided.append((series, decision))
        analyses.append(analysis)
        done()
    age = age_of_all(series.age for series, _ in members)
    stage = study_stage([analysis for analysis in analyses if analysis], age, models)
    return study_entry(decided, analyses, stage, age, models), analyses


def _infer_series(series: Series, decision: Decision, models: Models) -> tuple[Decision, SeriesAnalysis | None]:
    """Return the analysis of a series that is analysed, and the decision, which unreadable images change."""
    if decision.reason:
        for image in series.slices:
            image.set_aside(IGNORED, decision.reason)
        return decision, None
    analysis = analyse_series(series, models)
    return (decision if analysis else replace(decision, reason=message("none of its images can be read"))), analysis
