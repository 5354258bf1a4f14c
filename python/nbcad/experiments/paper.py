"""The paper's statements on solvers and nets, compared with the files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from google.protobuf.message import Message

from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe_pb2
from nbcad.runtime import paths

SOLVERS = (paths.ORGAN_SOLVER, paths.STAGE_SOLVER)
ORGAN_NETS, STAGE_NETS = (
    (net / "train_val.prototxt", net / "deploy.prototxt") for net in (paths.ORGAN_NET, paths.STAGE_NET)
)
READMES = (paths.SOLVERS / "README.md", paths.MODELS / "README.md")  # with tables that are made from the files
# Solver fields that change no weight: paths of the net and the results, and the frequency of tests and logs.
_NEUTRAL = {
    "net", "train_state", "test_state", "test_iter", "test_interval", "test_initialization", "display", "average_loss",
    "max_iter", "snapshot", "snapshot_prefix", "snapshot_format", "snapshot_diff", "solver_mode", "device_id",
    "random_seed", "debug_info",
}  # fmt: skip
# The key of the statement about each type of layer.
_STATED_BY = {
    "Convolution": "layers", "Pooling": "layers", "InnerProduct": "layers",
    "Sigmoid": "activation", "ReLU": "activation", "Dropout": "Dropout", "SoftmaxWithLoss": "classifier",
}  # fmt: skip
_TAGGED = re.compile(r"\s*([^#\s][^#]*?)  # (paper|inferred|ours): (.*)")
_LAYER = re.compile(r'name: "(\w+)" type: "(\w+)"')
_TABLE = re.compile(r"(<!-- table: (\S+) -->\n\n).*?(\n\n<!-- end -->)", re.S)


@dataclass(frozen=True)
class Statement:
    """A statement of the paper on one key."""

    section: str
    words: str  # the paper's own; "…" stands for those left out
    meaning: str

    def __str__(self) -> str:
        return f"{self.words}: {self.meaning}"


@dataclass(frozen=True)
class Line:
    """A statement of the paper beside the value in a file."""

    key: str
    stated: str
    found: str
    statement: Statement
    same: bool


@dataclass(frozen=True)
class TaggedLine:
    """A line of a solver or net with its source."""

    layer: str  # its name; empty in a solver
    text: str  # ``key: value``; ``type: ...`` for the head of a layer
    tag: str  # paper, inferred or ours
    reason: str
    statement: Statement | None  # the paper's, for the tag ``paper``


_SOLVER = {
    "type": Statement("3.2", "带动量的批随机梯度下降法", "mini-batch stochastic gradient descent with momentum"),
    "momentum": Statement("3.2", "动量设置为0.9", "the momentum is set to 0.9"),
    "weight_decay": Statement("3.2", "权值衰减为0.004", "the weight decay is 0.004"),
    "base_lr": Statement("3.2", "初始学习效率设置为0.01", "the initial learning rate is set to 0.01"),
    "lr_policy": Statement("3.2", "每迭代100次后, 乘以系数0.1", "after every 100 iterations, times 0.1"),
    "stepsize": Statement("3.2", "每迭代100次后", "after every 100 iterations"),
    "gamma": Statement("3.2", "乘以系数0.1", "multiplied by the coefficient 0.1"),
}
_SILENT = Statement("3.2", "nothing", "yet it changes the steps")
_ORGAN_NET = {
    "layers": Statement(
        "3.1(2), 3.2", "“卷积+降采样”网络结构; 7层神经网络模型", "convolution and down-sampling; a net of 7 layers"
    ),
    "kernel_size": Statement("3.2", "卷积核…大小为5×5", "kernels of 5x5"),
    "stride": Statement("3.2", "步幅(Stride)为1", "stride 1"),
    "pool": Statement(
        "3.2",
        "最大的池化采样窗口为3×3, 使用最大值作为采样特征",
        "largest pooling window 3x3; the largest value is the sample",
    ),
    "activation": Statement("3.2", "使用Sigmoid函数用来作为激活函数", "Sigmoid as activation"),
    "num_output": Statement("3.1(2)", "肾上腺、腹膜后腔以及胸腔", "adrenal gland, retroperitoneum and thorax"),
}
_STAGE_NET = {
    "layers": Statement("3.1(3)", "改进LeNet-5神经网络模型", "modified LeNet-5"),
    "activation": Statement("3.1(3)", "线性修正函数ReLU…作为激活函数", "ReLU as activation"),
    "Dropout": Statement("3.1(3)", "使用Dropout策略来提高系统泛化能力", "Dropout for generalisation"),
    "classifier": Statement("3.1(3)", "选用Softmax分类器", "Softmax as classifier"),
}


def solver_lines(path: str | Path) -> list[Line]:
    """Compare a solver with section 3.2; any other field that changes its steps counts as a difference.

    Raises:
        ModelError: the file is missing or malformed.
    """
    solver = caffe_net.read_solver(path)
    stated: dict[str, str | float] = {
        "type": "SGD", "momentum": 0.9, "weight_decay": 0.004, "base_lr": 0.01, "lr_policy": "step", "stepsize": 100,
        "gamma": 0.1,
    }  # fmt: skip
    lines = [_line(key, value, getattr(solver, key), _SOLVER[key]) for key, value in stated.items()]
    return lines + [
        _line(field.name, "nothing", str(value).strip(), _SILENT)
        for field, value in solver.ListFields()
        if field.name not in stated.keys() | _NEUTRAL and value != field.default_value
    ]


def organ_net_lines(path: str | Path) -> list[Line]:
    """Compare an organ net with sections 3.1(2) and 3.2.

    Raises:
        ModelError: the file is missing or malformed.
    """
    layers = caffe_net.read_net(path).layer
    found = {
        "layers": (
            "conv pool conv pool conv pool fc",
            " ".join(_body(layers)[:7]),
        ),  # the classifier for training follows
        "kernel_size": ("5", _every(_kernels(layers))),
        "stride": ("1", _every(_strides(layers))),
        "pool": ("MAX 3", _every(_pools(layers))),
        "activation": ("Sigmoid", _every(_activations(layers))),
    }
    return [_line(key, *pair, _ORGAN_NET[key]) for key, pair in found.items()]


def stage_net_lines(path: str | Path) -> list[Line]:
    """Compare a stager with section 3.1(3) and with LeNet-5.

    Raises:
        ModelError: the file is missing or malformed.
    """
    layers = caffe_net.read_net(path).layer
    kinds = [layer.type for layer in layers]
    last = next((kind for kind in kinds if kind.startswith("Softmax")), "none")
    found = {
        "layers": ("conv pool conv pool fc fc", " ".join(_body(layers))),
        "activation": ("ReLU", _every(_activations(layers))),
        "Dropout": ("yes", "yes" if "Dropout" in kinds else "no"),
        "classifier": ("Softmax", last.removesuffix("WithLoss")),
    }
    return [_line(key, *pair, _STAGE_NET[key]) for key, pair in found.items()]


def tagged_lines(path: str | Path) -> list[TaggedLine]:
    """Return the lines of a shipped solver or net that have a tag, in their order.

    Raises:
        KeyError: a line is tagged ``paper`` but this module knows no statement of the paper for it.
    """
    file = Path(path).absolute()
    statements = _ORGAN_NET if file in ORGAN_NETS else _STAGE_NET if file in STAGE_NETS else _SOLVER
    lines, layer, kind = [], "", ""
    for line in file.read_text().splitlines():
        if head := _LAYER.search(line):
            layer, kind = head.groups()
        if tagged := _TAGGED.fullmatch(line):
            text, tag, reason = tagged.groups()
            if head:  # its type, and the rest of a layer that has one line only
                text = re.sub(r' (bottom|top): "\w+"', "", text[text.index("type:") :])
                text = text.removesuffix(" }") if line.startswith("layer {") else text
            key = _STATED_BY.get(kind, "") if head else "pool" if kind == "Pooling" else text.split(":")[0]
            lines.append(TaggedLine(layer, text, tag, reason, statements[key] if tag == "paper" else None))
    return lines


def solver_table() -> str:
    """Return both solvers as a Markdown table with a row for each line, with both values where they differ."""
    rows = ["| key | paper | here | tag |", "|---|---|---|---|"]
    for lines in zip(*map(tagged_lines, SOLVERS), strict=True):
        key = lines[0].text.split(": ")[0]
        values = dict.fromkeys(f"`{line.text.removeprefix(f'{key}: ')}`" for line in lines)
        rows.append(
            f"| `{key}` | {lines[0].statement or ''} | {', '.join(values)} | {lines[0].tag}: {lines[0].reason} |"
        )
    return "\n".join(rows)


def net_table(path: str | Path) -> str:
    """Return a net as a Markdown table with a row for each line that has a tag."""
    rows = ["| layer | line | paper | tag |", "|---|---|---|---|"]
    rows += [f"| {x.layer} | `{x.text}` | {x.statement or ''} | {x.tag}: {x.reason} |" for x in tagged_lines(path)]
    return "\n".join(rows)


def with_tables(readme: str) -> str:
    """Renew the tables in a README's text; each follows ``<!-- table: solvers -->`` or ``<!-- table: NET -->``."""
    return _TABLE.sub(
        lambda old: f"{old[1]}{solver_table() if old[2] == 'solvers' else net_table(paths.ROOT / old[2])}{old[3]}",
        readme,
    )


def _line(key: str, stated: str | float, found: str | float, statement: Statement) -> Line:
    """Compare a value in a file with the paper's."""
    same = stated == found if isinstance(stated, str) else np.float32(stated) == np.float32(found)  # Caffe's precision
    return Line(key, str(stated), found if isinstance(found, str) else f"{found:.6g}", statement, bool(same))


def _every(values: Sequence[str]) -> str:
    """Return the different values among ``values``, or "none"."""
    return " ".join(dict.fromkeys(values)) or "none"


def _body(layers: Sequence[caffe_pb2.LayerParameter]) -> list[str]:
    """Return the kinds of a net's convolutions, poolings and inner products, in order."""
    names = {"Convolution": "conv", "Pooling": "pool", "InnerProduct": "fc"}
    return [names[layer.type] for layer in layers if layer.type in names]


def _convolutions(layers: Sequence[caffe_pb2.LayerParameter]) -> list[caffe_pb2.ConvolutionParameter]:
    """Return the parameters of a net's convolutions."""
    return [layer.convolution_param for layer in layers if layer.type == "Convolution"]


def _kernels(layers: Sequence[caffe_pb2.LayerParameter]) -> list[str]:
    """Return all kernel sizes of a net's convolutions."""
    sizes = [(*map(str, p.kernel_size), *_given(p, "kernel_h", "kernel_w")) for p in _convolutions(layers)]
    return [size for sizes_of_layer in sizes for size in sizes_of_layer]


def _strides(layers: Sequence[caffe_pb2.LayerParameter]) -> list[str]:
    """Return all strides of a net's convolutions."""
    strides = [(*map(str, p.stride), *_given(p, "stride_h", "stride_w")) or ("1",) for p in _convolutions(layers)]
    return [stride for strides_of_layer in strides for stride in strides_of_layer]


def _pools(layers: Sequence[caffe_pb2.LayerParameter]) -> list[str]:
    """Return the methods and window sizes of a net's poolings; "all" for a global pooling."""
    pools = [layer.pooling_param for layer in layers if layer.type == "Pooling"]
    sizes = [_given(p, "kernel_size", "kernel_h", "kernel_w") for p in pools]
    return [
        f"{pool.PoolMethod.Name(pool.pool)} {size}"
        for pool, sizes_of_pool in zip(pools, sizes, strict=True)
        for size in sizes_of_pool or ["all"]
    ]


def _activations(layers: Sequence[caffe_pb2.LayerParameter]) -> list[str]:
    """Return the types of a net's activation layers."""
    return [x.type for x in layers if x.type in ("Sigmoid", "ReLU", "PReLU", "ELU", "TanH", "Swish", "AbsVal", "BNLL")]


def _given(parameters: Message, *names: str) -> list[str]:
    """Return the values of those fields of a message that are set."""
    return [str(getattr(parameters, name)) for name in names if parameters.HasField(name)]
