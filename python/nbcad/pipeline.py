"""The trained models on DICOM: region, lesions and stage of every series and patient, and what became of every file."""

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

import nbcad
from nbcad import caffe_net, cli, localise, organ, stage
from nbcad.errors import InputError
from nbcad.labels import NORMAL
from nbcad.localise import Lesion
from nbcad.models import ModelFiles, Models, kept_models
from nbcad.parallel import Map
from nbcad.preprocess import Box, enhance, organ_inputs
from nbcad.series import IGNORED, USED, Archive, FileRecord, Series, Slice, geometries, read_archive, read_pixels
from nbcad.series_rules import Decision, Rule, decide, read_rules

SCHEMA = "nbcad-report/1"
SYNTHETIC = "Synthetic: (0028,0300) Quality Control Image is YES, so this is a phantom and no patient."


@dataclass
class SeriesAnalysis:
    """What was found in one series; arrays run over its n readable slices."""

    series: Series
    slices: list[Slice]
    volume: np.ndarray  # uint8 (n, rows, columns), enhanced, as stored
    organs: list[str]  # n labels of regions, "other" included
    organ_probabilities: np.ndarray  # (n, regions)
    heat: np.ndarray  # (n, stages, height, width), see localise.heat_maps
    lesions: list[Lesion]

    @property
    def tumour(self) -> np.ndarray:
        """(n,) highest tumour probability of each slice."""
        return 1 - self.heat[:, 0].min(axis=(1, 2))


@dataclass
class PatientAnalysis:
    """What was found in one patient, for as long as its pictures are needed."""

    number: int  # from 1, in the report's order
    patients: int  # how many the input holds
    first_series: int  # number of its first analysed series, from 1 over the report
    studies: list[dict]  # the report's entries
    analyses: list[list[SeriesAnalysis | None]]  # behind each series of each study; None: not analysed
    files: list[dict]  # the report's entries of the files that its series are made of
    summary: dict  # as the report's, of these

    def series(self) -> Iterator[tuple[dict, dict, SeriesAnalysis | None]]:
        """Each series: its study's entry, its own entry, and the analysis behind it."""
        for study, analyses in zip(self.studies, self.analyses, strict=True):
            for entry, analysis in zip(study["series"], analyses, strict=True):
                yield study, entry, analysis


def analyse_series(series: Series, models: Models) -> SeriesAnalysis | None:
    """Region, heat and lesions of one series; None if none of its slices can be read."""
    slices, pixels = read_pixels(series)
    if not slices:
        return None
    volume = enhance(pixels, models.n4)
    size = models.organ_net.blobs["data"].data.shape[-1]
    inputs = organ_inputs(volume, slices[0].geometry, slices[0].spacing, size)
    features = organ.extract_features(models.organ_net, models.organ_transform, inputs, models.svm.blob)
    heat = localise.heat_maps(models.stage_fcn, models.stage_transform, slices, volume)
    organs, probabilities = models.svm.sort(features)
    lesions = localise.find_lesions(heat, slices, models.point)
    return SeriesAnalysis(
        series=series,
        slices=slices,
        volume=volume,
        organs=organs,
        organ_probabilities=probabilities,
        heat=heat,
        lesions=[models.calibration.lesion(lesion) for lesion in lesions],
    )


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
        only_series: a SeriesInstanceUID that is analysed whatever the rules of `series_rules` say, and nothing else.
        finish: called with each patient's analysis, which is not kept: one patient's images are in memory at a time.
        take: called here, in the order of patients, with what ``finish`` returned.
        each: where patients are analysed, and ``finish`` is called. A single patient is analysed here.
        origin: what the report names in place of ``path``, if that is a copy for the time of the analysis.

    Returns:
        The report as in README.md ("report.json").

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
    with cli.progress(total=len(archive.series), desc="analyse", unit="series") as progress:
        if away:
            found = each(partial(_analyse_patient, away, finish, _nothing), patients)
        else:
            found = map(partial(_analyse_patient, models, finish, progress.update), patients)
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
                progress.update(sum(map(len, patient.studies)))
    return _report(archive, studies, models, device) | {
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
        files=[_file_entry(record) for record in records],
        summary=_summary(studies, records),
    )
    finished = None
    if finish:
        with _timed(seconds, "write"):
            finished = finish(analysis)
    return _Found(studies, records, finished, seconds)


def _nothing() -> None:
    """Progress is told where the report is put together."""


def _file_entry(record: FileRecord) -> dict:
    return {"path": record.path, "status": record.status, "reason": record.reason}


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
        names = ", ".join(_named(analysis.series) for analysis in found)
        stage_entry["notes"].append(f"{len(found)} series were analysed: {names}.")
    if any(series.phantom for series in members):
        stage_entry["notes"].append(SYNTHETIC)
    entry = {
        "study_uid": members[0].study_uid,
        "patient": {"id": members[0].patient_id, "age_months": age_months},
        "stage": stage_entry,
        "series": [
            _series_entry(series, analysis, decision, age_months, models)
            for series, analysis, decision in zip(members, analyses, decisions, strict=True)
        ],
    }
    return entry, analyses


def _named(series: Series) -> str:
    return f"{series.description or series.series_uid}{f' ({series.stack})' if series.stack else ''}"


def _decide(series: Series, rules: list[Rule], only_series: str | None) -> Decision:
    if only_series is None:
        return decide(series, rules)
    return Decision("--series", "" if series.series_uid == only_series else "another series was asked for")


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[step] += time.monotonic() - started


def _report(archive: Archive, studies: list[dict], models: Models, device: str) -> dict:
    return {
        "schema": SCHEMA,
        "research_use_only": True,
        "software": software(models, device),
        "summary": _summary(studies, archive.files),
        "studies": studies,
        "files": [_file_entry(record) for record in archive.files],
    }


def _summary(studies: list[dict], records: list[FileRecord]) -> dict:
    status = [record.status for record in records]
    every = [entry for study in studies for entry in study["series"]]
    return {
        "studies": len(studies),
        "series": len(every),
        **{f"files_{name}": status.count(name) for name in ("used", "refused", "ignored")},
        "frames_refused": sum(record.refused_frames for record in records if record.status == USED),
        "slices": sum(len(entry["slices"]) for entry in every),
        "lesions": sum(len(entry["lesions"]) for entry in every),
    }


def software(models: Models, device: str) -> dict:
    """What made a report."""
    return {
        "nbcad": nbcad.__version__,
        "caffe": caffe_net.caffe.__version__,
        "python": platform.python_version(),
        "device": device,
        "models": models.sha256,
    }


def _series_entry(
    series: Series, analysis: SeriesAnalysis | None, decision: Decision, age_months: int | None, models: Models
) -> dict:
    notes = list(series.notes)
    if analysis and len(analysis.slices) < len(series.slices):
        notes.append(f"{len(series.slices) - len(analysis.slices)} of its {len(series.slices)} images cannot be read")
    return {
        "series_uid": series.series_uid,
        "description": series.description,
        "stack": series.stack,
        "status": "analysed" if analysis else "refused",
        "rule": decision.rule,
        "reason": decision.reason,
        "notes": notes,
        "slices": _slice_entries(analysis, models) if analysis else [],
        "lesions": _lesion_entries(analysis, age_months, models) if analysis else [],
        "dicom": [],
    }


def _slice_entries(analysis: SeriesAnalysis, models: Models) -> list[dict]:
    return [
        {
            "sop_uid": image.sop_uid,
            "frame": image.frame,
            "organ": _labelled(organ_label, models.svm.labels, probabilities),
            "tumour_probability": _rounded(tumour),
        }
        for image, organ_label, probabilities, tumour in zip(
            analysis.slices, analysis.organs, analysis.organ_probabilities, analysis.tumour, strict=True
        )
    ]


def _lesion_entries(analysis: SeriesAnalysis, age_months: int | None, models: Models) -> list[dict]:
    return [
        _lesion_entry(number, lesion, analysis, age_months, models)
        for number, lesion in enumerate(analysis.lesions, start=1)
    ]


def _lesion_entry(
    number: int, lesion: Lesion, analysis: SeriesAnalysis, age_months: int | None, models: Models
) -> dict:
    names = [name for name in models.stages if name != NORMAL]
    stages, _ = stage.apply_age(lesion.stages, names, age_months)
    label, _ = stage.suggested(stages, names)
    centre, corners = millimetres(lesion, analysis)
    return {
        "id": number,
        "organ": Counter(analysis.organs[index] for index in lesion.boxes).most_common(1)[0][0],
        "probability": _rounded(lesion.probability),
        "mean_probability": _rounded(lesion.mean_probability),
        "stage": _labelled(label, names, stages),
        "centre_mm": centre,
        "box_mm": corners,
        "volume_mm3": volume_mm3(lesion, analysis),
        "boxes": [
            {"sop_uid": analysis.slices[index].sop_uid, "frame": analysis.slices[index].frame}
            | dict(zip(("row0", "col0", "row1", "col1"), whole_pixels(box), strict=True))
            for index, box in lesion.boxes.items()
        ],
    }


def whole_pixels(box: Box) -> tuple[int, int, int, int]:
    """The smallest box of whole pixels that holds a box."""
    row0, col0, row1, col1 = box
    return int(np.floor(row0)), int(np.floor(col0)), int(np.ceil(row1)), int(np.ceil(col1))


def millimetres(lesion: Lesion, analysis: SeriesAnalysis) -> tuple[list[float] | None, list[list[float]] | None]:
    """Centre and extent of a lesion in patient coordinates (LPS, mm); None where the series has no geometry."""
    planes = geometries(analysis.slices)
    if planes is None:
        return None, None
    index, row, column = lesion.centre
    low = int(np.floor(index))
    high = min(low + 1, len(planes) - 1)
    ends = planes[low].pixel_to_patient(row, column), planes[high].pixel_to_patient(row, column)
    centre = ends[0] + (index - low) * (ends[1] - ends[0])
    half_step = 0.5 * (analysis.series.slice_step_mm or 0.0)
    corners = [
        planes[index].pixel_to_patient(row, column) + sign * half_step * planes[index].normal
        for index, (row0, col0, row1, col1) in lesion.boxes.items()
        for row in (row0 - 0.5, row1 - 0.5)
        for column in (col0 - 0.5, col1 - 0.5)
        for sign in (-1, 1)
    ]
    return _rounded_mm(centre), [_rounded_mm(np.min(corners, axis=0)), _rounded_mm(np.max(corners, axis=0))]


def volume_mm3(lesion: Lesion, analysis: SeriesAnalysis) -> float | None:
    """Estimate of a lesion's volume: on each slice the ellipse in its box, times the distance between slices.

    Of one ellipsoid that is the usual pi/6 of the product of its three diameters. None where the series does not tell
    how far its slices are.
    """
    step = analysis.series.slice_step_mm
    if step is None:
        return None
    return round(np.pi / 4 * localise.volume(lesion.boxes) * float(np.prod(analysis.slices[0].spacing)) * step, 1)


def _rounded_mm(point: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in point]


def study_stage(found: list[SeriesAnalysis], age_months: int | None, models: Models) -> dict:
    """The patient's image-suggested stage from all lesions of all analysed series of one study."""
    lesions = [lesion for analysis in found for lesion in analysis.lesions]
    if not found:
        return {"label": None, "probabilities": {}, "notes": ["No series of this study could be analysed."]}
    if not lesions:
        highest = max(float(analysis.tumour.max()) for analysis in found)
        probabilities = np.zeros(len(models.stages))
        probabilities[0] = 1.0
        label: str | None = models.stages[0]
        notes = [f"No lesion was found; the highest tumour probability at any single place is {highest:.2f}."]
    else:
        stages, tumour = [x.stages for x in lesions], [x.probability for x in lesions]
        mean = models.calibration.patient(stage.mean_stage(stages, _lesion_sizes(found)))
        probabilities = np.concatenate([[1 - max(tumour)], max(tumour) * mean])
        probabilities, notes = stage.apply_age(probabilities, models.stages, age_months)
        label, undetermined = stage.suggested(probabilities[1:], models.stages[1:])
        notes = ["The stage is suggested by the images alone.", *notes, *undetermined]
    return _labelled(label, models.stages, probabilities) | {"notes": notes}


def _lesion_sizes(found: list[SeriesAnalysis]) -> list[float]:
    """Volume in mm^3 of each lesion's boxes; their area in mm^2 where a series does not tell how far its slices are."""
    steps = [step for analysis in found if (step := analysis.series.slice_step_mm) is not None]
    if len(steps) < len(found):
        steps = [1.0] * len(found)
    return [
        localise.volume(lesion.boxes) * pixel * step
        for analysis, step in zip(found, steps, strict=True)
        for pixel in [float(np.prod(analysis.slices[0].spacing))]
        for lesion in analysis.lesions
    ]


def _labelled(label: str | None, names: list[str], probabilities: np.ndarray) -> dict:
    return {"label": label, "probabilities": {n: _rounded(p) for n, p in zip(names, probabilities, strict=True)}}


def _rounded(probability: float) -> float:
    return round(float(probability), 4)
