"""The main job, by the tools themselves: from DICOM to report."""

import json
import resource
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pydicom
import pytest

from conftest import run_tool
from nbcad import caffe_net, conversion, database, lmdb_io, localise, organ, pipeline
from nbcad.labels import organ_labels, stage_labels
from nbcad.models import load_models
from nbcad.preprocess import STAGE_WINDOW, Canonical, stage_grid_shape

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
    (tmp_path / "out" / "report.json").write_text(json.dumps({"schema": pipeline.SCHEMA}))
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


@pytest.mark.parametrize("task", ["organ", "stage"])
def test_training_caffe_and_inference_see_the_same_tensors(flow, tmp_path, monkeypatch, task):
    """Bit for bit: an LMDB's entries after the net's transform, what Caffe's Data layer delivers from that LMDB, and
    what inference feeds its nets for the same slices."""
    with closing(database.connect(flow.database)) as connection:
        series, numbers = database.load_series(connection, 1)
        samples = conversion.select_samples(connection, 1)
    samples = [sample for sample in samples if sample["task"] == task and sample["zoom"] is None]
    assert {sample["slice"] for sample in samples} <= set(numbers) and len(samples) >= len(numbers) / 2
    (split,) = {sample["split"] for sample in samples}
    train_val = {"organ": organ.TRAIN_VAL, "stage": localise.TRAIN_VAL}[task]
    stored = caffe_net.transform_of(train_val)(lmdb_io.read(flow.lmdbs / f"{task}_{split}")[0])
    delivered = _delivered_by_caffe(flow.lmdbs / f"{task}_{split}", train_val, len(stored), tmp_path)
    assert delivered.dtype == stored.dtype == np.float32
    assert delivered.tobytes() == stored.tobytes()
    fed = _fed_by_inference(series, flow.models, task, monkeypatch)
    for sample in samples:
        number = numbers.index(sample["slice"])
        tensor = stored[sample["key"]]
        if task == "stage":
            place = _place(sample, series.slices[number])
            seen = fed[number][place[0] : place[0] + STAGE_WINDOW, place[1] : place[1] + STAGE_WINDOW]
            seen = seen[:, ::-1] if sample["mirrored"] else seen
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
    pipeline.analyse_series(series, load_models(models, "cpu"))
    return given[task]


def _place(sample, image) -> tuple[int, int]:
    """First row and column of a sample's window within what the fully convolutional net sees of its slice."""
    turn = Canonical.of(image.geometry)
    shape = image.rows, image.columns
    row, column, _, _ = turn.box_to_canonical((sample["row"], sample["col"]) * 2, shape)
    grid = stage_grid_shape(turn.shape(shape), turn.spacing(image.spacing))
    middle = (row * grid[0] / turn.shape(shape)[0], column * grid[1] / turn.shape(shape)[1])
    # Half a window of zeros lies before the grid, so that a window begins where its centre is in the grid.
    return tuple(int(np.clip(round(m), 0, side)) for m, side in zip(middle, grid, strict=True))


def test_no_patient_id_reaches_lmdbs_or_models(flow):
    for path in [*flow.lmdbs.rglob("*"), *flow.models.rglob("*")]:
        if path.is_file():
            assert b"PHANTOM" not in path.read_bytes(), path
