"""From DICOM to a report: every patient sorted, analysed and written."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from nbcad.cluster import on
from nbcad.dicom import IGNORED, FileRecord, Series, read_archive
from nbcad.dicom.rules import Decision, Rule, decide, read_rules
from nbcad.errors import InputError
from nbcad.inference.analysis import SeriesAnalysis, analyse_series
from nbcad.inference.models import ModelFiles, Models, kept_models
from nbcad.inference.study_stage import study_stage
from nbcad.report.entries import SYNTHETIC, file_entry, report_entries, series_entry, series_name, software, summary
from nbcad.report.output import report_folder
from nbcad.report.patient import PatientAnalysis
from nbcad.report.writer import ReportWriter
from nbcad.runtime.parallel import Map
from nbcad.runtime.progress import progress


@dataclass(frozen=True)
class _Patient:
    """One patient to be analysed."""

    number: int  # this and the next two: see `PatientAnalysis`
    patients: int
    first_series: int
    studies: list[list[tuple[Series, Decision]]]

    @property
    def records(self) -> list[FileRecord]:
        """Of the files that its series are made of."""
        images = (image for members in self.studies for series, _ in members for image in series.slices)
        return list({id(image.record): image.record for image in images}.values())


@dataclass(frozen=True)
class _Found:
    """What is kept of one patient, to be sent to the process that writes the report."""

    studies: list[dict]  # the report's entries
    records: list[FileRecord]  # of the patient, in order
    finished: object  # what ``finish`` returned
    seconds: dict[str, float]


def analyse(
    path: Path,
    models: Models,
    device: str,
    only_series: str | None = None,
    finish: Callable[[PatientAnalysis], object] | None = None,
    take: Callable[[Any], object] | None = None,
    each: Map = map,
    origin: str | None = None,
) -> dict:
    """Analyse everything below ``path``, a patient at a time.

    Args:
        path: DICOM folder, file or zip.
        models: the trained models.
        device: written into the report.
        only_series: a SeriesInstanceUID that is analysed whatever the rules of `dicom.rules` say, and nothing else.
        finish: called with each patient's analysis, which is not kept: one patient's images are in memory at a time.
        take: called here, in the order of patients, with what ``finish`` returned.
        each: where patients are analysed, and ``finish`` is called. A single patient is analysed here.
        origin: what the report names in place of ``path``, if that is a copy for the time of the analysis.

    Returns:
        The report as in docs/formats/report-json.md.

    Raises:
        InputError: nothing stands at ``path``, ``only_series`` is not among its series, or the rules are malformed.
        WorkerError: see `parallel.Map`.
    """
    rules = read_rules()
    seconds = {"read": 0.0, "analyse": 0.0, "write": 0.0}
    with _timed(seconds, "read"):
        archive = read_archive(path, each)
    if origin:
        for record in archive.files:
            record.path = origin + record.path.removeprefix(str(path))
    if only_series and only_series not in {s.series_uid for s in archive.series}:
        raise InputError(f"{origin or path} holds no readable MR series {only_series}")
    patients, studies = _patients(archive.series, rules, only_series), []
    away = models.files if each is not map and len(patients) > 1 else None  # from where others load the models
    with progress(total=len(archive.series), desc="analyse", unit="series") as bar:
        if away:
            found = each(partial(_analyse_patient, away, finish, _nothing), patients)
        else:
            found = map(partial(_analyse_patient, models, finish, bar.update), patients)
        for patient, of_patient in zip(patients, found, strict=True):
            for record, known_there in zip(patient.records, of_patient.records, strict=True):
                record.adopt(known_there)
            studies += of_patient.studies
            for step, value in of_patient.seconds.items():
                seconds[step] += value
            if take:
                with _timed(seconds, "write"):
                    take(of_patient.finished)
            if away:
                bar.update(sum(map(len, patient.studies)))
    return report_entries(archive, studies, models, device) | {
        "origin": origin or str(path),
        "timing_s": {step: round(value, 3) for step, value in seconds.items()},
    }


def _by_patient(series: list[Series]) -> Iterator[list[list[Series]]]:
    """The studies of each patient; series come sorted by patient and study."""
    # By patient too: a study UID that two patients share, as careless anonymisers leave it, must not make them one.
    studies = [list(members) for _, members in groupby(series, key=lambda s: (s.patient_id, s.study_uid))]
    # Nothing says that studies without Patient ID are of one patient.
    for _, members in groupby(studies, key=lambda s: (s[0].patient_id, "" if s[0].patient_id else s[0].study_uid)):
        yield list(members)


def _patients(series: list[Series], rules: list[Rule], only_series: str | None) -> list[_Patient]:
    """All patients, with what is decided of their series and where the analysed ones' numbers begin."""
    groups, patients, first = list(_by_patient(series)), [], 1
    for number, group in enumerate(groups, start=1):
        studies = [[(one, _decide(one, rules, only_series)) for one in members] for members in group]
        patients.append(_Patient(number, len(groups), first, studies))
        first += sum(not decision.reason for members in studies for _, decision in members)
    return patients


def _analyse_patient(
    models: Models | ModelFiles,
    finish: Callable[[PatientAnalysis], object] | None,
    done: Callable[[], object],
    patient: _Patient,
) -> _Found:
    """Analyse the studies of one patient, and finish with them.

    Args:
        models: or from where another process than that of `analyse` loads them.
        finish: see `analyse`.
        done: called after each series.
        patient: who is analysed.
    """
    if isinstance(models, ModelFiles):
        models = kept_models(models)
    seconds = {"analyse": 0.0, "write": 0.0}
    with _timed(seconds, "analyse"):
        found = [_analyse_study(members, models, done) for members in patient.studies]
    records = patient.records
    studies = [entry for entry, _ in found]
    analysis = PatientAnalysis(
        number=patient.number,
        patients=patient.patients,
        first_series=patient.first_series,
        studies=studies,
        analyses=[analyses for _, analyses in found],
        files=[file_entry(record) for record in records],
        summary=summary(studies, records),
    )
    finished = None
    if finish:
        with _timed(seconds, "write"):
            finished = finish(analysis)
    return _Found(studies, records, finished, seconds)


def _nothing() -> None:
    """Progress is told where the report is put together."""


def _analyse_study(
    decided: list[tuple[Series, Decision]], models: Models, done: Callable[[], object]
) -> tuple[dict, list[SeriesAnalysis | None]]:
    """The report's entry of one study, and the analysis behind each of its series."""
    members = [series for series, _ in decided]
    decisions, analyses = [], []
    for series, decision in decided:
        analysis = None if decision.reason else analyse_series(series, models)
        if decision.reason:
            for image in series.slices:
                image.set_aside(IGNORED, decision.reason)
        elif analysis is None:
            decision = replace(decision, reason="none of its images can be read")
        decisions.append(decision)
        analyses.append(analysis)
        done()
    age_months = next((series.age_months for series in members if series.age_months is not None), None)
    found = [analysis for analysis in analyses if analysis]
    stage_entry = study_stage(found, age_months, models)
    if len(found) > 1:
        names = ", ".join(series_name(analysis.series) for analysis in found)
        stage_entry["notes"].append(f"{len(found)} series were analysed: {names}.")
    if any(series.phantom for series in members):
        stage_entry["notes"].append(SYNTHETIC)
    entry = {
        "study_uid": members[0].study_uid,
        "patient": {"id": members[0].patient_id, "age_months": age_months},
        "stage": stage_entry,
        "series": [
            series_entry(series, analysis, decision, age_months, models)
            for series, analysis, decision in zip(members, analyses, decisions, strict=True)
        ],
    }
    return entry, analyses


def _decide(series: Series, rules: list[Rule], only_series: str | None) -> Decision:
    if only_series is None:
        return decide(series, rules)
    return Decision("--series", "" if series.series_uid == only_series else "another series was asked for")


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[step] += time.monotonic() - started


def write_report(
    dicom: Path,
    out: Path,
    models: Models,
    device: str,
    language: str,
    only_series: str | None = None,
    force: bool = False,
    dask: str | None = None,
    origin: str | None = None,
) -> dict:
    """Analyse everything below a path and write its report.

    Args:
        dicom: DICOM folder, file or zip.
        out: folder of the report, see `report_folder`.
        models: the trained models.
        device: on which they are.
        language: of the pages, one of `language.LANGUAGES`.
        only_series, origin: see `infer.analyse`.
        force: replace a report.
        dask: see `cluster.on`.

    Returns:
        What report.json holds.

    Raises:
        InputError, OutputError, WorkerError: see `infer.analyse`, `report_folder` and `cluster.on`.
    """
    with report_folder(out, dicom, force) as folder:
        needed = [dicom, folder, *(models.files.paths if models.files else ())]
        with on(dask, map, needed) as each:
            writer = ReportWriter(folder, language, software(models, device))
            report = analyse(dicom, models, device, only_series, writer.write, writer.take, each, origin)
            writer.close(report)
    return report
