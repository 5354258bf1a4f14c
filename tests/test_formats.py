"""The JSON files and their schemas in docs/formats: real output is valid, and no field is in one of them only."""

import copy
import json
import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from make_analysis import report_of
from make_dicom import mr_image, write
from make_records import patient, records, ward
from nbcad.evaluation import document
from nbcad.evaluation.types import Metrics, ModelFolders
from nbcad.inference.operating_point import ChosenPoint
from nbcad.inference.organ import SvmDescription
from nbcad.inference.suitability import SuitabilityLimits
from nbcad.language.message import Message
from nbcad.report.types import Report
from nbcad.runtime.json_file import ABSENT, as_json, write_json
from nbcad.samples.lmdb_io import LmdbInfo
from nbcad.training.record import TrainingRecord
from repository import ROOT

FORMATS = {
    "report": Report,
    "metrics": Metrics,
    "run": TrainingRecord,
    "operating_point": ChosenPoint,
    "svm": SvmDescription,
    "suitability": SuitabilityLimits,
    "info": LmdbInfo,
}
JSON_TYPES = {
    str: "string",
    Message: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
    tuple: "array",
}
PIXELS = np.random.default_rng(0).integers(0, 900, (48, 40))


def _schema(name: str) -> dict:
    return json.loads((ROOT / f"docs/formats/{name}.schema.json").read_text(encoding="utf-8"))


def _complaints(name: str, content) -> list[str]:
    validator = Draft202012Validator(_schema(name), format_checker=FormatChecker())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(content)]


def _complaints_about(name: str, path: Path) -> list[str]:
    return _complaints(name, json.loads(path.read_text()))


# --- dataclasses and schemas


def test_every_schema_is_one_of_the_draft_that_it_names():
    assert {path.name.removesuffix(".schema.json") for path in (ROOT / "docs/formats").glob("*.schema.json")} == {
        *FORMATS
    }
    for name in FORMATS:
        assert _schema(name)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        Draft202012Validator.check_schema(_schema(name))


@pytest.mark.parametrize("name", FORMATS)
def test_schema_has_the_fields_of_the_dataclasses(name):
    schema = _schema(name)
    seen: set[str] = set()
    _compare_fields(FORMATS[name], schema, schema.get("$defs", {}), seen)
    assert {kind for kind, of in schema.get("$defs", {}).items() if "properties" in of} == seen


def _compare_fields(kind, schema: dict, definitions: dict, seen: set[str]) -> None:
    """Fail where a dataclass and a schema, or those they lead to, differ."""
    hints = get_type_hints(kind)
    keys = {one.name: one.name.removesuffix("_") for one in fields(kind)}
    assert list(schema["properties"]) == list(keys.values()), kind.__name__
    required = [keys[one.name] for one in fields(kind) if one.metadata != ABSENT]
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", required, False)
    for one in fields(kind):
        property_ = schema["properties"][keys[one.name]]
        _compare(hints[one.name], property_, one.metadata == ABSENT, definitions, seen, f"{kind.__name__}.{one.name}")


def _compare(kind, schema: dict, absent: bool, definitions: dict, seen: set[str], where: str) -> None:
    nullable = get_origin(kind) in (types.UnionType, Union)  # the latter of a Literal
    if nullable:
        (kind,) = (one for one in get_args(kind) if one is not types.NoneType)
    if "anyOf" in schema and "type" not in schema:
        schema, null = schema["anyOf"]
        assert nullable and null == {"type": "null"}, where
    elif nullable and not absent:
        assert schema["type"][1] == "null", where
        schema = {**schema, "type": schema["type"][0]}
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        if is_dataclass(kind):
            assert name == kind.__name__, where
            if name not in seen:
                seen.add(name)
                _compare_fields(kind, definitions[name], definitions, seen)
            return
        schema = definitions[name]
    if get_origin(kind) is Literal:
        assert schema["enum"] == list(get_args(kind)), where
    elif "const" in schema or "enum" in schema:
        assert {type(value) for value in schema.get("enum", [schema.get("const")])} == {kind}, where
    else:
        assert schema["type"] == JSON_TYPES[get_origin(kind) or kind], where
    inner = [one for one in get_args(kind) if one is not Ellipsis]
    if get_origin(kind) is dict and "properties" not in schema:
        _compare(inner[1], schema["additionalProperties"], False, definitions, seen, where)
    if get_origin(kind) is tuple:
        items = [schema["items"]] if get_args(kind)[-1] is Ellipsis else schema["prefixItems"]
        for one, item in zip(inner, items, strict=True):
            _compare(one, item, False, definitions, seen, where)


# --- real output


def test_files_of_the_flow_are_as_their_schemas_say(flow):
    for name, path in (
        ("metrics", flow.folder / "metrics.json"),
        ("run", flow.models / "organ" / "run.json"),
        ("run", flow.models / "stage" / "run.json"),
        ("svm", flow.models / "organ" / "svm.json"),
        ("operating_point", flow.models / "stage" / "operating_point.json"),
        ("info", flow.lmdbs / "info.json"),
    ):
        assert _complaints_about(name, path) == []


@pytest.mark.parametrize("of", [ward(), records(patient(of=[])), records(patient("M", "M"), patient(of=[]))])
def test_metrics_of_few_patients_are_as_the_schema_says(eager, tmp_path, of):
    write_json(document.assemble(of, eager, ModelFolders("a", "b")), tmp_path / "metrics.json")
    assert _complaints_about("metrics", tmp_path / "metrics.json") == []


@pytest.fixture
def several(tmp_path) -> Path:
    """Two patients, a series without position, one of another kind, and files that are refused or ignored."""
    folder = tmp_path / "in"
    for n in range(2):
        write(mr_image(PIXELS, (0, 0, 5.0 * n)), folder / f"a{n}")
    bare = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PatientID": ""}
    write(mr_image(PIXELS, StudyInstanceUID="2.25.8", SeriesInstanceUID="2.25.9", **bare), folder / "bare")
    write(mr_image(PIXELS, SeriesInstanceUID="2.25.4", SeriesDescription="T1"), folder / "t1")
    write(mr_image(PIXELS, PixelSpacing=None), folder / "no_spacing")
    write(mr_image(0 * PIXELS, (0, 0, 10)), folder / "black")
    (folder / "notes.txt").write_text("nothing")
    return folder


@pytest.mark.parametrize("models", ["eager", "blind"])
def test_report_is_as_the_schema_says_with_and_without_lesions(request, several, tmp_path, models):
    report = report_of(several, request.getfixturevalue(models))
    counts = report.summary
    assert (counts.studies, counts.files_refused, counts.files_ignored) == (2, 2, 2)
    assert (counts.lesions > 0) == (models == "eager")
    write_json(report, tmp_path / "report.json")
    assert _complaints_about("report", tmp_path / "report.json") == []


def test_report_of_nothing_is_as_the_schema_says(blind, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    assert _complaints("report", as_json(report_of(tmp_path, blind))) == []


# --- what the schemas refuse


@pytest.mark.parametrize(
    ("edit", "where"),
    [
        (lambda r: r.update(more=1), "$: Additional"),
        (lambda r: r.pop("origin"), "$: 'origin'"),
        (lambda r: r["studies"][0]["series"][0].update(status="done"), "$.studies[0].series[0].status"),
        (lambda r: r["studies"][0]["series"][0].update(status="refused"), "$.studies[0].series[0].reason"),
        (lambda r: r["studies"][0]["series"][0].update(reason="a reason"), "$.studies[0].series[0].reason"),
        (lambda r: r["studies"][0]["stage"].update(label=1), "$.studies[0].stage.label"),
        (lambda r: r["studies"][0]["series"][0]["lesions"][0].update(probability=2), "lesions[0].probability"),
        (lambda r: r["studies"][0]["series"][0]["lesions"][0].update(centre_mm=[1, 2]), "lesions[0].centre_mm"),
        (lambda r: r["files"][0].update(status="refused", reason=""), "$.files[0].reason"),
        (lambda r: r["timing_s"].update(read=None), "$.timing_s.read"),
    ],
)
def test_report_that_is_not_as_it_should_be_is_refused(edited_report, edit, where):
    edit(edited_report)
    complaints = _complaints("report", edited_report)
    assert complaints and any(where in complaint for complaint in complaints)


@pytest.fixture(scope="module")
def written_report(eager, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("report")
    for n in range(2):
        write(mr_image(PIXELS, (0, 0, 5.0 * n)), folder / str(n))
    return as_json(report_of(folder, eager))


@pytest.fixture
def edited_report(written_report) -> dict:
    assert _complaints("report", written_report) == []
    return copy.deepcopy(written_report)
