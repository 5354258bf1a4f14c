"""Solvers and nets against the paper: what a reviewer would look up, line by line."""

import re
from pathlib import Path

import numpy as np
import pytest

from nbcad.experiments import paper
from nbcad.imaging.preprocess import STAGE_WINDOW
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe, caffe_pb2
from nbcad.nets.labels import organ_labels, stage_labels
from nbcad.runtime.paths import shown
from repository import run_tool

SOLVERS = ["solvers/organ_solver.prototxt", "solvers/stage_solver.prototxt"]
BEYOND = [path.replace("solvers/", "solvers/beyond_paper/") for path in SOLVERS]
NETS = sorted(str(p) for p in Path("models").glob("*/*.prototxt"))
TAG = re.compile(r"# (paper|inferred|ours): \S")
LEARNED_OR_POOLING = {"Convolution", "InnerProduct", "Pooling", "Sigmoid", "ReLU", "Dropout"}


@pytest.mark.parametrize("path", SOLVERS)
def test_solver_holds_the_papers_numbers(path):
    solver = caffe_net.read_solver(path)
    assert (solver.type, solver.lr_policy) == ("SGD", "step")
    assert solver.momentum == pytest.approx(0.9)
    assert solver.weight_decay == pytest.approx(0.004)
    assert solver.base_lr == pytest.approx(0.01)
    assert solver.gamma == pytest.approx(0.1)
    assert solver.stepsize == 100


@pytest.mark.parametrize("readme", paper.READMES)
def test_tables_of_the_readmes_are_what_the_files_say(readme):
    text = Path(readme).read_text()
    assert "<!-- table: " in text
    assert paper.with_tables(text) == text, "run tools/paper_diff.py --write-tables"


@pytest.mark.parametrize("path", [*SOLVERS, paper.ORGAN_NETS[0], paper.STAGE_NETS[0]])
def test_tables_have_a_row_for_each_tagged_line(path):
    lines = paper.tagged_lines(path)
    assert len(lines) == sum(bool(TAG.search(line)) for line in Path(path).read_text().splitlines())
    for line in lines:
        assert (line.tag == "paper") == (line.statement is not None)
        if line.statement:  # the file names the section, too
            assert line.reason.split(", ")[0].split(";")[0] in line.statement.section


@pytest.mark.parametrize("path", [*SOLVERS, *BEYOND])
def test_every_solver_line_says_where_its_number_comes_from(path):
    untagged = [line for line in Path(path).read_text().splitlines() if line and not TAG.search(line)]
    assert untagged == []


@pytest.mark.parametrize("path", NETS)
def test_every_number_of_a_layer_says_where_it_comes_from(path):
    needs_tag = re.compile(
        rf'type: "({"|".join(LEARNED_OR_POOLING)})"|num_output|kernel_size|stride|pool:|filler|lr_mult: 2'
    )
    untagged = [line for line in Path(path).read_text().splitlines() if needs_tag.search(line) and not TAG.search(line)]
    assert untagged == []


def _layers(path: str) -> dict[str, caffe_pb2.LayerParameter]:
    return {
        layer.name: layer
        for layer in caffe_net.read_net(path).layer
        if layer.type not in ("Data", "Input", "SoftmaxWithLoss", "Softmax", "Accuracy")
    }


@pytest.mark.parametrize("model", ["organ_net", "stage_lenet5"])
def test_deployed_net_has_the_trained_nets_layers(model):
    assert _layers(f"models/{model}/deploy.prototxt") == _layers(f"models/{model}/train_val.prototxt")


def test_organ_net_has_the_papers_seven_layers():
    layers = _layers("models/organ_net/train_val.prototxt")
    seven = [name for name, layer in layers.items() if layer.type in ("Convolution", "Pooling", "InnerProduct")][:7]
    assert seven == ["conv1", "pool1", "conv2", "pool2", "conv3", "pool3", "fc7"]
    for name in ("conv1", "conv2", "conv3"):
        convolution = layers[name].convolution_param
        assert (list(convolution.kernel_size), list(convolution.stride)) == ([5], [1])
    for name in ("pool1", "pool2", "pool3"):
        pooling = layers[name].pooling_param
        assert (pooling.pool, pooling.kernel_size) == (pooling.MAX, 3)
    assert sum(layer.type == "Sigmoid" for layer in layers.values()) == 4
    assert layers["score"].inner_product_param.num_output == len(organ_labels())


def test_stage_net_is_lenet5_with_relu_dropout_and_softmax():
    layers = _layers("models/stage_lenet5/train_val.prototxt")
    assert [layer.type for layer in layers.values()] == [
        "Convolution", "ReLU", "Pooling", "Convolution", "ReLU", "Pooling", "InnerProduct", "ReLU", "Dropout",
        "InnerProduct",
    ]  # fmt: skip
    assert layers["ip2"].inner_product_param.num_output == len(stage_labels())
    assert caffe_net.read_net("models/stage_lenet5/train_val.prototxt").layer[-2].type == "SoftmaxWithLoss"
    assert caffe_net.input_size("models/stage_lenet5/deploy.prototxt") == STAGE_WINDOW


def test_stage_labels_are_inrgss_with_normal_first():
    assert stage_labels() == ["normal", "L1", "L2", "M", "MS"]


def test_papers_diff_finds_no_difference_in_what_is_shipped():
    done = run_tool("paper_diff")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "no difference"), done.stdout
    assert all(shown(path) in done.stdout for path in (*paper.SOLVERS, *paper.ORGAN_NETS, *paper.STAGE_NETS))


@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("type", '"Nesterov"'), ("momentum", "0.91"), ("weight_decay", "0.0041"), ("base_lr", "0.001"),
        ("lr_policy", '"fixed"'), ("stepsize", "101"), ("gamma", "0.5"),
    ],
)  # fmt: skip
def test_papers_diff_names_the_one_number_that_was_changed(tmp_path, key, other):
    changed, count = re.subn(rf"^{key}: \S+", f"{key}: {other}", Path(SOLVERS[0]).read_text(), flags=re.M)
    assert count == 1
    (tmp_path / "solver.prototxt").write_text(changed)
    done = run_tool("paper_diff", "--solver", tmp_path / "solver.prototxt")
    marked = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("!")]
    assert (done.returncode, marked) == (1, [key])


@pytest.mark.parametrize("more", ["clip_gradients: 1", "iter_size: 2", 'regularization_type: "L1"'])
def test_what_else_changes_the_steps_is_a_difference(tmp_path, more):
    (tmp_path / "solver.prototxt").write_text(f"{Path(SOLVERS[0]).read_text()}{more}\n")
    assert [x.key for x in paper.solver_lines(tmp_path / "solver.prototxt") if not x.same] == [more.split(":")[0]]


@pytest.mark.parametrize(
    ("lines_of", "net", "old", "new", "key"),
    [
        (paper.organ_net_lines, paper.ORGAN_NETS[0], "kernel_size: 5", "kernel_size: 3", "kernel_size"),
        (paper.organ_net_lines, paper.ORGAN_NETS[0], "stride: 1", "stride: 2", "stride"),
        (paper.organ_net_lines, paper.ORGAN_NETS[0], "pool: MAX", "pool: AVE", "pool"),
        (paper.organ_net_lines, paper.ORGAN_NETS[1], 'type: "Sigmoid"', 'type: "TanH"', "activation"),
        (paper.organ_net_lines, paper.ORGAN_NETS[1], 'type: "Pooling"', 'type: "LRN"', "layers"),
        (paper.stage_net_lines, paper.STAGE_NETS[0], 'type: "ReLU"', 'type: "Sigmoid"', "activation"),
        (paper.stage_net_lines, paper.STAGE_NETS[0], 'type: "Dropout"', 'type: "Power"', "Dropout"),
        (paper.stage_net_lines, paper.STAGE_NETS[1], 'type: "Softmax"', 'type: "Sigmoid"', "classifier"),
    ],
)
def test_papers_diff_of_a_net_names_what_was_changed(tmp_path, lines_of, net, old, new, key):
    text = Path(net).read_text()
    assert old in text
    (tmp_path / "net.prototxt").write_text(text.replace(old, new, 1))
    assert key in [line.key for line in lines_of(tmp_path / "net.prototxt") if not line.same]


LINE = """
layer { name: "data" type: "DummyData" top: "data" top: "label"
  dummy_data_param { shape { dim: 8 dim: 3 } shape { dim: 8 dim: 1 }
    data_filler { type: "gaussian" } data_filler { type: "gaussian" } } }
layer { name: "line" type: "InnerProduct" bottom: "data" top: "line"
  param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 1 decay_mult: 1 }
  inner_product_param { num_output: 1
    weight_filler { type: "gaussian" std: 1 } bias_filler { type: "constant" value: 1 } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "line" bottom: "label" top: "loss" }
"""


def _solver_on_a_line(tmp_path: Path, path: str):
    """The shipped solver, on a net of one inner product instead of its own."""
    solver = caffe_net.read_solver(path)
    (tmp_path / "line.prototxt").write_text(LINE)
    solver.net = str(tmp_path / "line.prototxt")
    solver.snapshot, solver.snapshot_prefix, solver.display = 0, str(tmp_path / "s"), 0
    del solver.test_iter[:]
    solver.ClearField("test_interval")
    (tmp_path / "solver.prototxt").write_text(str(solver))
    return caffe.get_solver(str(tmp_path / "solver.prototxt"))


@pytest.mark.parametrize("path", SOLVERS)
def test_caffe_multiplies_the_rate_by_a_tenth_every_100_iterations(tmp_path, path):
    solver = _solver_on_a_line(tmp_path, path)
    for iteration in (0, 99, 100, 200, 400):
        solver.step(iteration - solver.iter)
        assert solver.lr == pytest.approx(0.01 * 0.1 ** (iteration // 100), rel=1e-5)


@pytest.mark.parametrize("path", SOLVERS)
def test_caffes_update_is_equation_1_with_a_minus_before_the_weight_decay(tmp_path, path):
    """v = 0.9 v - 0.004 e w - e dL/dw; w = w + v. The paper prints a plus before 0.004 (docs/reproduction.md)."""
    solver = _solver_on_a_line(tmp_path, path)
    weight, bias = solver.net.params["line"]
    velocity = 0.0
    for _ in range(5):
        before = np.append(weight.data, bias.data).astype(float)
        solver.step(1)
        inputs = np.hstack([solver.net.blobs["data"].data, np.ones((8, 1))]).astype(float)
        residual = inputs @ before - solver.net.blobs["label"].data.ravel()
        gradient = inputs.T @ residual / len(residual)
        velocity = 0.9 * velocity - 0.004 * 0.01 * before - 0.01 * gradient
        np.testing.assert_allclose(np.append(weight.data, bias.data), before + velocity, rtol=2e-5, atol=1e-6)
        with_plus = before + velocity + 2 * 0.004 * 0.01 * before
        assert not np.allclose(np.append(weight.data, bias.data), with_plus, rtol=1e-5, atol=0)
