"""The report as data: the entries of files, series, slices and lesions."""

import platform
from collections import Counter

import nbcad
from nbcad.dicom import USED, Archive, FileRecord, Series
from nbcad.dicom.rules import Decision
from nbcad.imaging.boxes import whole_pixels
from nbcad.inference import stage
from nbcad.inference.analysis import SeriesAnalysis
from nbcad.inference.lesions import Lesion
from nbcad.inference.measure import millimetres, volume_mm3
from nbcad.inference.models import Models
from nbcad.inference.study_stage import labelled, rounded
from nbcad.nets import caffe_net
from nbcad.nets.labels import NORMAL

SCHEMA = "nbcad-report/1"
SYNTHETIC = "Synthetic: (0028,0300) Quality Control Image is YES, so this is a phantom and no patient."


def file_entry(record: FileRecord) -> dict:
    return {"path": record.path, "status": record.status, "reason": record.reason}


def series_name(series: Series) -> str:
    return f"{series.description or series.series_uid}{f' ({series.stack})' if series.stack else ''}"


def report_entries(archive: Archive, studies: list[dict], models: Models, device: str) -> dict:
    return {
        "schema": SCHEMA,
        "research_use_only": True,
        "software": software(models, device),
        "summary": summary(studies, archive.files),
        "studies": studies,
        "files": [file_entry(record) for record in archive.files],
    }


def summary(studies: list[dict], records: list[FileRecord]) -> dict:
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


def series_entry(
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
            "organ": labelled(organ_label, models.svm.labels, probabilities),
            "tumour_probability": rounded(tumour),
        }
        for image, organ_label, probabilities, tumour in zip(
            analysis.slices, analysis.organs, analysis.organ_probabilities, analysis.tumour, strict=True
        )
    ]


def _lesion_entries(analysis: SeriesAnalysis, age_months: int | None, models: Models) -> list[dict]:
    return [
        lesion_entry(number, lesion, analysis, age_months, models)
        for number, lesion in enumerate(analysis.lesions, start=1)
    ]


def lesion_entry(number: int, lesion: Lesion, analysis: SeriesAnalysis, age_months: int | None, models: Models) -> dict:
    names = [name for name in models.stages if name != NORMAL]
    stages, _ = stage.apply_age(lesion.stages, names, age_months)
    label, _ = stage.suggested(stages, names)
    centre, corners = millimetres(lesion, analysis)
    return {
        "id": number,
        "organ": Counter(analysis.organs[index] for index in lesion.boxes).most_common(1)[0][0],
        "probability": rounded(lesion.probability),
        "mean_probability": rounded(lesion.mean_probability),
        "stage": labelled(label, names, stages),
        "centre_mm": centre,
        "box_mm": corners,
        "volume_mm3": volume_mm3(lesion, analysis),
        "boxes": [
            {"sop_uid": analysis.slices[index].sop_uid, "frame": analysis.slices[index].frame}
            | dict(zip(("row0", "col0", "row1", "col1"), whole_pixels(box), strict=True))
            for index, box in lesion.boxes.items()
        ],
    }
