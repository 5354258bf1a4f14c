"""Folders of models: what is not what was sealed is refused by name."""

import json
import shutil

import pytest

from nbcad.errors import ModelError
from nbcad.inference import models
from nbcad.inference.models import SEAL, load_models
from repository import run_tool


@pytest.fixture
def folder(flow, tmp_path):
    """A copy of trained models that a test may damage."""
    shutil.copytree(flow.models, tmp_path / "runs")
    return tmp_path / "runs"


FILES = [("organ", name) for name in models.ORGAN_FILES.values()]
FILES += [("stage", name) for name in models.STAGE_FILES.values()]


def test_models_load_as_they_were_sealed(folder):
    loaded = load_models(folder, "cpu")
    assert loaded.sha256.keys() == models.ORGAN_FILES.keys() | models.STAGE_FILES.keys()
    assert loaded.sha256["stage_net"] == json.loads((folder / "stage" / SEAL).read_text())["sha256"]["final.caffemodel"]


@pytest.mark.parametrize(("kind", "name"), [*FILES, ("organ", SEAL), ("stage", SEAL)])
def test_missing_file_is_refused_by_name(folder, kind, name):
    (folder / kind / name).unlink()
    with pytest.raises(ModelError, match=rf"{kind}/{name} does not exist; run `make train-{kind}`"):
        load_models(folder, "cpu")


@pytest.mark.parametrize(("kind", "name"), FILES)
def test_altered_file_is_refused_by_name(folder, kind, name):
    path = folder / kind / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"{kind}/{name} differs from the one that model\.json names"):
        load_models(folder, "cpu")


@pytest.mark.parametrize("kind", ["organ", "stage"])
@pytest.mark.parametrize("change", [-1, 1])
def test_labels_that_are_not_as_many_as_outputs_are_one_error(folder, monkeypatch, kind, change):
    """As when a label file was edited, and the models were sealed with it but not trained again."""
    labels = [*getattr(models, f"{kind}_labels")(), "more"][: change - 1 or None]
    monkeypatch.setattr(models, f"{kind}_labels", lambda: labels)
    getattr(models, f"seal_{kind}")(folder / kind)
    with pytest.raises(ModelError, match=rf"\d outputs, config/labels/{kind}\.txt has {len(labels)} names"):
        load_models(folder, "cpu")


def test_folder_of_the_other_model_is_refused(folder):
    for name in ("final.caffemodel", SEAL):
        shutil.copy(folder / "organ" / name, folder / "stage" / name)
    with pytest.raises(ModelError, match="kind is organ, not stage"):
        load_models(folder, "cpu")


@pytest.mark.parametrize(
    ("key", "value"), [("schema", "other/1"), ("kind", "organ"), ("labels", ["normal", "1", "2A"])]
)
def test_foreign_seal_is_refused_with_what_it_says(folder, key, value):
    seal = json.loads((folder / "stage" / SEAL).read_text()) | {key: value}
    (folder / "stage" / SEAL).write_text(json.dumps(seal))
    with pytest.raises(ModelError, match=rf"model\.json: {key} is "):
        load_models(folder, "cpu")


@pytest.mark.parametrize("text", ["no json", "[]", "{}", '{"schema": "nbcad-model/1"}'])
def test_damaged_seal_is_one_error_that_names_the_file(folder, text):
    (folder / "organ" / SEAL).write_text(text)
    with pytest.raises(ModelError, match=r"model\.json cannot be read"):
        load_models(folder, "cpu")


@pytest.mark.parametrize("text", ["no json", "[]", "{}", '{"threshold": 0.5}'])
def test_damaged_operating_point_is_one_error_that_names_the_file(folder, text):
    (folder / "stage" / "operating_point.json").write_text(text)
    models.seal_stage(folder / "stage")
    with pytest.raises(ModelError, match=r"operating_point\.json cannot be read"):
        load_models(folder, "cpu")


def test_infer_with_an_altered_model_is_one_line_and_leaves_nothing(folder, flow, tmp_path):
    with (folder / "stage" / "final.caffemodel").open("ab") as file:
        file.write(b"0")
    done = run_tool("infer", flow.phantom / "dicom", "--models", folder, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "stage/final.caffemodel differs from the one" in done.stderr and not (tmp_path / "out").exists()
