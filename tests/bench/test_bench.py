import importlib
import json
import sys
from types import ModuleType

import cv2
import pytest

from nbcad import bench
from nbcad.bench import archive, child, conversion, layers, node, study
from nbcad.dicom import read_archive
from nbcad.dicom.rules import decide, read_rules
from nbcad.errors import NbcadError
from nbcad.nets import caffe_net
from nbcad.report.types import Report
from nbcad.runtime.json_file import read_json
from nbcad.samples.database_writer import write_repeated
from repository import run_tool
from sample_database import query

NAMES = {
    "slices converted", "slices a second, all cores", "processor time a slice",
    "processor time a slice, decoding and preprocessing alone", "ratio of the two", "memory of all processes, peak",
}  # fmt: skip


def test_figures_are_written_and_other_parts_keep_theirs(monkeypatch, tmp_path):
    part = ModuleType("nbcad.bench.fake")
    part.measure = lambda folder, size: [bench.Figure("size", size, "B"), bench.Figure("d", folder.is_dir(), "")]
    monkeypatch.setitem(sys.modules, part.__name__, part)
    monkeypatch.setitem(bench.PARTS, "fake", "measure")
    out = tmp_path / "bench.json"
    out.write_text(json.dumps({"another": {"figures": []}}))
    figures = bench.run(["fake"], size=80, out=out)
    assert [figure.value for figure in figures["fake"]] == [80, True]
    written = json.loads(out.read_text())
    assert written["another"] == {"figures": []}
    assert written["fake"]["figures"][0] == {"name": "size", "value": 80, "unit": "B", "bound": None, "least": None}
    assert written["fake"]["machine"]["cores"] >= 1
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_every_part_can_be_measured():
    for part in bench.PARTS:
        assert callable(getattr(importlib.import_module(f"nbcad.bench.{part}"), bench.PARTS[part]))


def test_conversion_is_measured(flow, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "PASSES", 1)
    figures = conversion.measure_conversion_of(flow.database, tmp_path, size=10)
    assert {figure.name for figure in figures} == NAMES
    assert all(figure.value > 0 for figure in figures)


def test_repeated_database_names_each_image_as_often_under_new_numbers(flow, tmp_path):
    ((slices,),) = query(flow.database, "SELECT count(*) FROM slice")
    ((samples,),) = query(flow.database, "SELECT count(*) FROM sample")
    many = tmp_path / "many.sqlite"
    assert write_repeated(flow.database, many, 2 * slices + 1) == 3 * slices
    assert query(many, "SELECT count(DISTINCT slice) FROM slice")[0][0] == 3 * slices
    assert query(many, "SELECT count(*) FROM sample JOIN slice USING (slice)")[0][0] == 3 * samples
    assert not query(many, "SELECT 1 FROM sample GROUP BY task, split HAVING max(key) + 1 <> count(*)")


def test_figure_says_if_it_exceeds_its_bound():
    assert str(bench.Figure("ratio", 1.5, "", 1.3)).endswith("at most 1.3: EXCEEDED")
    assert str(bench.Figure("ratio", 1.2, "", 1.3)).endswith("at most 1.3")


def test_figure_says_if_it_misses_its_goal():
    assert str(bench.Figure("ratio", 1.1, "ratio", least=1.2)).endswith("at least 1.2: MISSED")
    assert str(bench.Figure("ratio", 1.2, "ratio", least=1.2)).endswith("at least 1.2")


def test_ratios_stand_once_more_by_themselves(monkeypatch, tmp_path):
    part = ModuleType("nbcad.bench.fake")
    part.measure = lambda folder, size: [bench.Figure("a_vs_b", 2.0, "ratio"), bench.Figure("a", 1.0, "ms")]
    monkeypatch.setitem(sys.modules, part.__name__, part)
    monkeypatch.setitem(bench.PARTS, "fake", "measure")
    out = tmp_path / "bench.json"
    out.write_text(json.dumps({"ratios": {"c_vs_d": 3.0}}))
    bench.run(["fake"], size=1, out=out)
    assert json.loads(out.read_text())["ratios"] == {"c_vs_d": 3.0, "a_vs_b": 2.0}


def test_the_peer_is_told_the_nets_that_caffe_has():
    for name, path in layers.NETS.items():
        net = layers.without_data(path / "train_val.prototxt")
        told = layers.description(net)["layers"]
        with layers.chosen("stock"):
            built = caffe_net.caffe.Net(str(path / "deploy.prototxt"), caffe_net.caffe.TEST)
        learned = [layer for layer in told if layer["type"] in ("Convolution", "InnerProduct")]
        shapes = [own[0].data.shape for own in built.params.values()]
        assert [(layer["numbers"][1], layer["numbers"][0]) for layer in learned] == [shape[:2] for shape in shapes]
        assert [layer["out"][0] for layer in learned] == [shape[0] for shape in shapes]
        assert learned[-2]["numbers"][0] == built.blobs["pool3" if name == "organ" else "pool2"].data[0].size


def test_operations_of_the_organ_net_are_those_counted_by_hand():
    net = layers.without_data(layers.NETS["organ"] / "train_val.prototxt")
    products = 64 * 64 * 32 * 25 * 2 + 3 * (32 * 32 * 32 * 800 + 16 * 16 * 64 * 800 + 4096 * 1024 + 1024 * 3)
    assert layers.operations(net) == 2 * 64 * products


def test_ratios_are_medians_over_rounds_against_the_best_variant():
    seconds = {("", "multiply", "NumPy"): [1.0], ("", "multiply", "PyTorch"): [0.5]}
    for name in layers.NETS:
        for what in ("train", "infer"):
            seconds |= {(name, what, variant): [9.0, 9.0, 9.0] for variant in layers.VARIANTS}
            seconds[name, what, layers.VARIANTS[2]] = [2.0, 6.0, 9.0]
            seconds |= {(name, what, "fast"): [1.0, 2.0, 9.0], (name, what, "stock"): [4.0, 8.0, 27.0]}
    values = {figure.name: figure.value for figure in layers.figures(seconds, dict.fromkeys(layers.NETS, 2.0))}
    assert values["organ_train_vs_pytorch"] == values["stage_infer_vs_pytorch"] == 2
    assert values["stage_train_vs_stock"] == 4
    assert values["organ_share_of_gemm_rate"] == pytest.approx(0.25 / layers.MATRIX**3)


def test_curve_is_printed_drawn_and_written(monkeypatch, tmp_path):
    part = ModuleType("nbcad.bench.fake")
    curve = bench.Curve("batch", "images", "ms", {"one": [(1, 2.0), (10, 4.5)]})
    part.measure = lambda folder, size: [bench.Figure("a_vs_b", 2.0, "ratio"), curve]
    monkeypatch.setitem(sys.modules, part.__name__, part)
    monkeypatch.setitem(bench.PARTS, "fake", "measure")
    assert str(bench.run(["fake"], size=1, out=tmp_path / "bench.json")["fake"][1]).endswith("one: 1: 2, 10: 4.5")
    written = json.loads((tmp_path / "bench.json").read_text())
    assert [figure["name"] for figure in written["fake"]["figures"]] == ["a_vs_b"]
    assert written["fake"]["curves"][0]["lines"] == {"one": [[1, 2.0], [10, 4.5]]}
    assert cv2.imread(str(tmp_path / "fake_batch.png")).std() > 0


def test_plain_loop_says_the_same_of_each_slice_as_the_tool(flow, tmp_path):
    dicom = study.write_study(tmp_path / "dicom", 6)
    stager, report, answers = flow.models / "stage", tmp_path / "report", tmp_path / "plain.json"
    run_tool("infer", dicom, "--out", report, "--models", flow.models)
    child.run([sys.executable, study.PLAIN_LOOP, dicom, flow.models / "organ", stager, answers])
    found = read_json(report / "report.json", Report, NbcadError)
    same, apart = study.agreement(found, json.loads(answers.read_text()))
    assert same == 6
    assert apart < 1e-3


def test_cost_of_a_command_is_its_own_and_not_what_started_it():
    held = bytearray(300 << 20)
    took = child.run([sys.executable, "-c", "import time; held = b'1' * (100 << 20); time.sleep(0.5)"])
    assert 100 << 20 < took.memory < 250 << 20 < len(held)
    assert took.cpu_s > 0
    with pytest.raises(NbcadError, match="ended with 7"):
        child.run([sys.executable, "-c", "raise SystemExit(7)"])


def test_folder_of_many_patients_holds_a_t2_and_a_scout_of_each(monkeypatch, tmp_path):
    monkeypatch.setattr(archive, "OF_A_PATIENT", 30)
    archive.write_patients(tmp_path / "dicom", 60)
    found = read_archive(tmp_path / "dicom")
    assert {file.status for file in found.files} == {"used"}
    rules = read_rules()
    assert [(len(series.slices), bool(decide(series, rules).reason)) for series in found.series] == [
        (20, False), (10, True),
    ] * 2  # fmt: skip


@pytest.mark.hospital
def test_node_answers_the_studies_that_its_benchmark_sends(flow, tmp_path):
    figures = {f.name: f.value for f in node.measure_node(tmp_path, 2000, flow.models, flow.models / "stage")}
    assert figures["studies"] == 2
    assert 0 < figures["share of the time in the nets"] < 1
