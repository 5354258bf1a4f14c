"""Nets and solvers in the words of the stock image bvlc/caffe:cpu: its Caffe is the tag 1.0, of April 2017."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.message import Message

from nbcad.nets import caffe_net

SOLVERS = sorted(str(path) for path in Path("solvers").rglob("*.prototxt"))
NETS = sorted(str(path) for path in Path("models").rglob("*.prototxt"))

# What our prototxts use, and caffe.proto of the tag has. Of a further field it has to be looked up there: the
# caffe.proto that parses here may be Debian's of August 2018, which has some more.
FIELDS = {
    "SolverParameter": "base_lr display gamma lr_policy max_iter momentum net random_seed snapshot snapshot_prefix "
    "solver_mode stepsize test_interval test_iter train_state type weight_decay",
    "NetState": "stage",
    "NetParameter": "layer name",
    "LayerParameter": "bottom convolution_param data_param dropout_param include inner_product_param input_param name "
    "param pooling_param top transform_param type",
    "NetStateRule": "not_stage phase stage",
    "ParamSpec": "lr_mult",
    "FillerParameter": "max min type value",
    "InputParameter": "shape",
    "BlobShape": "dim",
    "DataParameter": "backend batch_size source",
    "TransformationParameter": "mean_value scale",
    "ConvolutionParameter": "bias_filler kernel_size num_output pad stride weight_filler",
    "PoolingParameter": "kernel_size pool stride",
    "InnerProductParameter": "bias_filler num_output weight_filler",
    "DropoutParameter": "dropout_ratio",
}
LAYERS = {
    "Accuracy", "Convolution", "Data", "Dropout", "InnerProduct", "Input", "Pooling", "ReLU", "Sigmoid", "Softmax",
    "SoftmaxWithLoss",
}  # fmt: skip


def fields(message: Message) -> Iterator[tuple[str, str]]:
    """Type and name of each field that is set in a message and in those within it."""
    for field, value in message.ListFields():
        yield message.DESCRIPTOR.name, field.name
        if field.message_type:
            for part in [value] if isinstance(value, Message) else value:
                yield from fields(part)


@pytest.mark.parametrize("path", [*SOLVERS, *NETS])
def test_prototxt_has_only_fields_of_the_tag(path):
    message = caffe_net.read_solver(path) if path in SOLVERS else caffe_net.read_net(path)
    assert [(kind, name) for kind, name in fields(message) if name not in FIELDS.get(kind, "").split()] == []


@pytest.mark.parametrize("path", NETS)
def test_net_has_only_layers_of_the_tag(path):
    assert {layer.type for layer in caffe_net.read_net(path).layer} <= LAYERS


@pytest.mark.parametrize("path", SOLVERS)
def test_solver_says_where_snapshots_go_as_the_tag_has_no_default(path):
    solver = caffe_net.read_solver(path)
    assert solver.snapshot and solver.snapshot_prefix.startswith("runs/")
