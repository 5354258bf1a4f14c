"""The main job, by the tools themselves: from DICOM to report."""

import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from nbcad.evaluation import records
from nbcad.experiments import baselines
from nbcad.imaging.orientation import Canonical
from nbcad.imaging.preprocess import STAGE_WINDOW, stage_grid_shape
from nbcad.inference import analysis, heat, organ
from nbcad.inference.models import load_models
from nbcad.nets import caffe_net
from nbcad.nets.labels import organ_labels, stage_labels
from nbcad.report.entries import SCHEMA
from nbcad.samples import lmdb_io
from nbcad.samples.database import SampleDatabase
from nbcad.samples.images import load_series
from repository import run_tool
from sample_database import query

LABELLED = {"label", "probabilities"}


@pytest.fixture(scope="module")
def patient(flow) -> Path:
    """Folder of one phantom patient."""
    return sorted((flow.phantom / "dicom").iterdir())[0]


def test_evaluate_prints_the_papers_measures_and_calls_them_synthetic(flow):
    text = flow.output["evaluate"]
    for word in ("sensitivity", "specificity", "accuracy", "miss rate", "FP rate", "tumour by lesion"):
        assert word in text
    figures = [x for x in text.splitlines() if x.startswith(("organ", "tumour", "patient stage", "baseline"))]
    measures, counts = 3 + 2 + 1, 3 + 2  # by slice and by patient; by lesion nothing is a true negative
    assert len(figures) == measures + counts + 2 + 8
    assert "synthetic" in text.splitlines()[0]
    metrics = json.loads((flow.folder / "metrics.json").read_text())
    assert (metrics["schema"], metrics["synthetic"]) == ("nbcad-metrics/1", True)
    assert set(metrics["organ"]["one_against_rest"]) == set(organ_labels())
    page = (flow.folder / "metrics.html").read_text()
    assert "Synthetic" in page and (flow.folder / "metrics_plots" / "confusion_stage.svg").is_file()


def test_evaluate_overwrites_figures_only_if_forced(flow, tmp_path):
    arguments = ("--models", flow.models, "--database", flow.database, "--beside", flow.folder / "metrics.json")
    (tmp_path / "metrics.html").write_text("mine")
    refused = run_tool("evaluate", *arguments, "--out", tmp_path / "metrics.json")
    assert refused.returncode == 1 and "--force" in refused.stderr and "metrics.html" in refused.stderr
    assert (tmp_path / "metrics.html").read_text() == "mine"
    done = run_tool("evaluate", *arguments, "--out", tmp_path / "metrics.json", "--force")
    assert done.returncode == 0, done.stderr
    again, before = (json.loads((f / "metrics.json").read_text()) for f in (tmp_path, flow.folder))
    assert again["baselines"] == {} and before["baselines"]
    assert again | {"baselines": None} == before | {"baselines": None}  # the same every time


def test_records_are_one_a_patient_and_whole_patients_come_together(flow):
    models = load_models(flow.models, "cpu")
    gathered = records.gather(flow.database, models)
    ((count, slices),) = query(
        flow.database, "SELECT count(DISTINCT patient), count(*) FROM slice_side WHERE side = 'test'"
    )
    assert len(gathered.patients) == count
    assert sum(len(s.slices) for p in gathered.patients for s in p.series) == slices
    assert models.point.threshold in gathered.thresholds
    at = gathered.thresholds.index(models.point.threshold)
    for patient in gathered.patients:
        for series in patient.series:
            assert series.sweep[at].hit == sum(lesion.found for lesion in series.lesions)
            assert series.sweep[at].false == sum(not found.true for found in series.found)
            assert [s.score >= models.point.threshold for s in series.slices] == [
                s.tumour_answer for s in series.slices
            ]


def test_baselines_are_of_the_same_samples(flow, tmp_path):
    rows_by_task = baselines.measure_baselines(
        flow.database, flow.lmdbs, load_models(flow.models, "cpu"), tmp_path / "relu"
    )
    for rows in rows_by_task.values():
        assert len({row.accuracy.n for row in rows if row.accuracy.value is not None}) == 1
    assert "not trained" in rows_by_task["organ by slice"][-1].accuracy.reason


def test_relu_net_is_a_baseline_only_if_trained_on_the_same_samples(flow, tmp_path):
    done = run_tool(
        "train_baseline", "--out", tmp_path / "relu", "--database", flow.database, "--lmdb", flow.lmdbs, "--max-iter", 2
    )
    assert done.returncode == 0, done.stderr
    assert run_tool("train_baseline", "--out", tmp_path / "relu").returncode == 1  # it stands there already
    net = caffe_net.read_net(tmp_path / "relu" / "deploy.prototxt")
    assert {layer.type for layer in net.layer} >= {"ReLU"} and "Sigmoid" not in {layer.type for layer in net.layer}
    samples = {"test": lmdb_io.read_samples(flow.database, flow.lmdbs, "organ", "test")}
    assert 0 <= baselines.relu_accuracy(tmp_path / "relu", samples, flow.lmdbs).value <= 1
    shutil.copytree(flow.lmdbs, tmp_path / "lmdb")
    lmdb_io.write(tmp_path / "lmdb" / "organ_train", samples["test"][0], samples["test"][1])
    assert "other samples" in baselines.relu_accuracy(tmp_path / "relu", samples, tmp_path / "lmdb").reason


def test_infer_writes_a_report_as_documented_and_accounts_for_every_file(flow, patient, tmp_path):
    done = run_tool("infer", patient, "--out", tmp_path / "out", "--models", flow.models)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["schema"], report["research_use_only"]) == ("nbcad-report/2", True)
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
    out = tmp_path / "out"
    arguments = (patient, "--out", out, "--models", flow.models)
    assert run_tool("infer", *arguments).returncode == 0
    before = _contents(out)
    assert {"report.json", "report.html", "dicom/0001.sr.dcm", "dicom/0001-01.sc.dcm"} <= set(before)
    refused = run_tool("infer", *arguments)
    assert refused.returncode == 1 and "--force" in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert _contents(out) == before
    (out / "dicom" / "0009.sr.dcm").write_text("of a longer report")
    assert run_tool("infer", *arguments, "--force").returncode == 0
    assert set(_contents(out)) == set(before) and _contents(out) != before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def old(tmp_path) -> Path:
    """A report of ours, as far as its folder tells."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text(json.dumps({"schema": SCHEMA}))
    (tmp_path / "out" / "report.html").write_text("old")
    return tmp_path / "out"


def _infer(flow, patient, out: Path, **options) -> subprocess.Popen:
    command = [sys.executable, "tools/infer.py", patient, "--out", out, "--models", flow.models, "--force"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)


def test_infer_on_a_full_disk_is_one_line_and_leaves_the_old_report(flow, patient, old):
    before = _contents(old)
    full = 100_000  # bytes that a file may have: enough for the SR, not for a picture; the kernel then says EFBIG
    process = _infer(flow, patient, old, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (full, full)))
    errors = process.communicate()[1].splitlines()
    assert process.returncode == 1 and f"no space for {old}: File too large" in errors[-1]
    assert not any("Traceback" in line for line in errors)
    assert _contents(old) == before and [p.name for p in old.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("moment", ["dicom/*.sr.dcm", "report.html"])
def test_infer_killed_while_it_writes_leaves_the_old_report(flow, patient, old, moment):
    before = _contents(old)
    process = _infer(flow, patient, old)
    while not list(old.parent.glob(f".out.*.part/{moment}")):
        assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()
    assert _contents(old) == before


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
    assert done.returncode == 3, done.stderr  # of T1 the models know nothing
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {study["suitability"]["verdict"] for study in report["studies"]} == {"unsuited"}
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


@pytest.mark.parametrize("task", ["organ", "stage"])
def test_training_caffe_and_inference_see_the_same_tensors(flow, tmp_path, monkeypatch, task):
    """Bit for bit: an LMDB's entries after the net's transform, what Caffe's Data layer delivers from that LMDB, and
    what inference feeds its nets for the same slices."""
    with SampleDatabase.open(flow.database) as database:
        series, numbers = load_series(database, 1)
        samples = [sample for sample in database.samples_of(1) if sample.task == task and sample.jitter is None]
    assert {sample.slice for sample in samples} <= set(numbers) and len(samples) >= len(numbers) / 2
    (split,) = {sample.split for sample in samples}
    train_val = {"organ": organ.TRAIN_VAL, "stage": heat.TRAIN_VAL}[task]
    stored = caffe_net.transform_of(train_val)(lmdb_io.read(flow.lmdbs / f"{task}_{split}")[0])
    delivered = _delivered_by_caffe(flow.lmdbs / f"{task}_{split}", train_val, len(stored), tmp_path)
    assert delivered.dtype == stored.dtype == np.float32
    assert delivered.tobytes() == stored.tobytes()
    fed = _fed_by_inference(series, flow.models, task, monkeypatch)
    for sample in samples:
        number = numbers.index(sample.slice)
        tensor = stored[sample.key]
        if task == "stage":
            place = _place(sample, series.slices[number])
            seen = fed[number][place[0] : place[0] + STAGE_WINDOW, place[1] : place[1] + STAGE_WINDOW]
            seen = seen[:, ::-1] if sample.mirrored else seen
        else:
            seen = fed[number]
        assert seen.tobytes() == tensor.tobytes(), tuple(sample)


def _delivered_by_caffe(path: Path, train_val: str, count: int, folder: Path) -> np.ndarray:
    """All that the Data layer of a shipped net delivers from an LMDB, shape (count, height, width)."""
    data = next(layer for layer in caffe_net.read_net(train_val).layer if layer.type == "Data")
    data.data_param.source, data.data_param.batch_size = str(path), count
    del data.include[:]
    (folder / "data.prototxt").write_text(str(caffe_net.caffe_pb2.NetParameter(layer=[data])))
    net = caffe_net.caffe.Net(str(folder / "data.prototxt"), caffe_net.caffe.TEST)
    net.forward()
    return net.blobs["data"].data[:, 0].copy()


def _fed_by_inference(series, models: Path, task: str, monkeypatch) -> list[np.ndarray]:
    """For each slice the tensor that analysing the series gives the organ net, or the fully convolutional stager."""
    given: dict[str, list[np.ndarray]] = {"organ": [], "stage": []}
    forward = caffe_net.forward

    def recorded(net, inputs, blobs):
        given["stage" if blobs == ["prob"] else "organ"] += list(inputs[:, 0].copy())
        return forward(net, inputs, blobs)

    monkeypatch.setattr(caffe_net, "forward", recorded)
    analysis.analyse_series(series, load_models(models, "cpu"))
    return given[task]


def _place(sample, image) -> tuple[int, int]:
    """First row and column of a sample's window within what the fully convolutional net sees of its slice."""
    turn = Canonical.of(image.geometry)
    shape = image.rows, image.columns
    row, column, _, _ = turn.box_to_canonical((sample.row, sample.col) * 2, shape)
    grid = stage_grid_shape(turn.shape(shape), turn.spacing(image.spacing))
    middle = (row * grid[0] / turn.shape(shape)[0], column * grid[1] / turn.shape(shape)[1])
    # Half a window of zeros lies before the grid, so that a window begins where its centre is in the grid.
    return tuple(int(np.clip(round(m), 0, side)) for m, side in zip(middle, grid, strict=True))


def test_no_patient_id_reaches_lmdbs_or_models(flow):
    for path in [*flow.lmdbs.rglob("*"), *flow.models.rglob("*")]:
        if path.is_file():
            assert b"PHANTOM" not in path.read_bytes(), path
