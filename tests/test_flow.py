"""The main job, by the tools themselves: from DICOM to report."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pydicom
import pytest

from conftest import run_tool
from nbcad import database, lmdb_io
from nbcad.labels import organ_labels, stage_labels
from nbcad.localise import STRIDE
from nbcad.preprocess import (
    STAGE_MM_PER_PIXEL,
    STAGE_WINDOW,
    Canonical,
    Jitter,
    enhance,
    organ_input,
    pad_for_windows,
    stage_grid,
)
from nbcad.series import read_pixels

JITTER = ("turn_deg", "zoom", "down", "right")  # columns of a jittered copy

LABELLED = {"label", "probabilities"}


@pytest.fixture(scope="module")
def patient(flow) -> Path:
    """Folder of one phantom patient."""
    return sorted((flow.phantom / "dicom").iterdir())[0]


def test_evaluate_prints_the_papers_measures_and_says_that_they_are_synthetic(flow):
    text = flow.output["evaluate"]
    for word in ("sensitivity", "specificity", "accuracy", "miss rate", "FP rate", "lesions:", "baseline"):
        assert word in text
    figures = [line for line in text.splitlines() if "TP " in line or "baseline" in line or "accuracy:" in line]
    assert len(figures) == 3 + 2 + 2 + 3
    assert all("synthetic" in line for line in figures)
    metrics = json.loads((flow.folder / "metrics.json").read_text())
    assert metrics["synthetic"] is True
    assert set(metrics["organ"]["one_against_rest"]) == set(organ_labels())


def test_infer_writes_a_report_as_documented_and_accounts_for_every_file(flow, patient, tmp_path):
    done = run_tool("infer", patient, "--out", tmp_path / "out", "--models", flow.models)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["schema"], report["research_use_only"]) == ("nbcad-report/1", True)
    assert len(report["files"]) == sum(p.is_file() for p in patient.rglob("*"))
    summary = report["summary"]
    assert summary["files_used"] + summary["files_ignored"] == len(report["files"])
    assert all(f["reason"] for f in report["files"] if f["status"] != "used")
    (study,) = report["studies"]
    analysed = [s for s in study["series"] if s["status"] == "analysed"]
    assert len(analysed) == 1 and summary["slices"] == summary["files_used"] == len(analysed[0]["slices"])
    for entry in analysed[0]["slices"]:
        assert set(entry["organ"]) == LABELLED and 0 <= entry["tumour_probability"] <= 1
        assert entry["organ"]["label"] in [*organ_labels(), "other"]
    assert set(study["stage"]["probabilities"]) == set(stage_labels())
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Research use only" in page and "http" not in page.replace("http-equiv", "")


def test_infer_does_not_overwrite_a_report_unless_forced(flow, patient, tmp_path):
    arguments = (patient, "--out", tmp_path, "--models", flow.models)
    (tmp_path / "report.json").write_text("mine")
    refused = run_tool("infer", *arguments)
    assert refused.returncode == 1 and "--force" in refused.stderr
    assert (tmp_path / "report.json").read_text() == "mine"
    assert run_tool("infer", *arguments, "--force").returncode == 0


def test_infer_on_mixed_files_ends_with_3_and_every_file_accounted_for(flow, tmp_path):
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    done = run_tool("infer", root, "--out", tmp_path / "out", "--models", flow.models)
    assert done.returncode == 3, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(report["files"]) == sum(p.is_file() for p in root.rglob("*"))
    assert all(f["status"] == "used" or f["reason"] for f in report["files"])


def test_infer_analyses_a_series_asked_for_and_no_other(flow, patient, tmp_path):
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in patient.rglob("*") if p.is_file()]
    t1 = next(h.SeriesInstanceUID for h in headers if "T1" in h.SeriesDescription.upper())
    done = run_tool("infer", patient, "--out", tmp_path / "out", "--models", flow.models, "--series", t1)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    analysed = [s["series_uid"] for study in report["studies"] for s in study["series"] if s["status"] == "analysed"]
    assert analysed == [t1]
    wrong = run_tool("infer", patient, "--out", tmp_path / "no", "--models", flow.models, "--series", "1.2.3")
    assert wrong.returncode == 1 and "1.2.3" in wrong.stderr


@pytest.mark.parametrize("missing", ["organ/svm.skops", "stage/final.caffemodel"])
def test_infer_without_a_model_says_in_one_line_how_to_train_it(flow, patient, tmp_path, missing):
    shutil.copytree(flow.models, tmp_path / "runs")
    (tmp_path / "runs" / missing).unlink()
    done = run_tool("infer", patient, "--out", tmp_path / "out", "--models", tmp_path / "runs")
    assert done.returncode == 1
    assert missing in done.stderr and "make train" in done.stderr and len(done.stderr.splitlines()) == 1


def test_infer_on_a_folder_that_is_not_there_is_one_line(flow, tmp_path):
    done = run_tool("infer", tmp_path / "nowhere", "--out", tmp_path / "out", "--models", flow.models)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert not (tmp_path / "out").exists()


def test_training_and_inference_see_the_same_pixels(flow):
    """Entry by entry: the LMDB's image is what preprocessing gives inference for that slice and place."""
    with closing(database.connect(flow.database)) as connection:
        series, numbers = database.load_series(connection, 1)
        split = connection.execute("SELECT side FROM slice_side WHERE series = 1").fetchone()[0]
        samples = connection.execute(
            f"SELECT * FROM sample WHERE slice BETWEEN {numbers[0]} AND {numbers[-1]} ORDER BY task, key"
        ).fetchall()
    slices, pixels = read_pixels(series)
    turn = Canonical.of(slices[0].geometry)
    spacing = turn.spacing(slices[0].spacing)
    turned = {number: turn.apply(image) for number, image in zip(numbers, enhance(pixels), strict=True)}
    stored = {task: lmdb_io.read(flow.lmdbs / f"{task}_{split}")[0] for task in ("organ", "stage")}
    assert {s["task"] for s in samples} == {"organ", "stage"}
    for sample in samples:
        image = turned[sample["slice"]]
        entry = stored[sample["task"]][sample["key"]]
        if sample["task"] == "organ":
            jitter = None if sample["zoom"] is None else Jitter(*(sample[n] for n in JITTER))
            np.testing.assert_array_equal(entry, organ_input(image, spacing, 64, jitter))
        else:
            whole = pad_for_windows(stage_grid(image, spacing), STRIDE)
            windows = np.lib.stride_tricks.sliding_window_view(whole, (STAGE_WINDOW, STAGE_WINDOW))
            seen = entry[:, ::-1] if sample["mirrored"] else entry
            assert (windows == seen).all(axis=(2, 3)).any()
    assert {s["mm_per_pixel"] for s in samples} == {None, STAGE_MM_PER_PIXEL}


def test_no_patient_id_reaches_lmdbs_or_models(flow):
    for path in [*flow.lmdbs.rglob("*"), *flow.models.rglob("*")]:
        if path.is_file():
            assert b"PHANTOM" not in path.read_bytes(), path
