"""What the paper states of solvers and nets, and whether a file says the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nbcad import caffe_net
from nbcad.caffe_net import caffe_pb2

SOLVERS = ("solvers/organ_solver.prototxt", "solvers/stage_solver.prototxt")
ORGAN_NETS = ("models/organ_net/train_val.prototxt", "models/organ_net/deploy.prototxt")
STAGE_NETS = ("models/stage_lenet5/train_val.prototxt", "models/stage_lenet5/deploy.prototxt")
# Solver fields that change no weight: where the net and the results are, and how often is looked.
_NEUTRAL = {
    "net", "train_state", "test_state", "test_iter", "test_interval", "test_initialization", "display", "average_loss",
    "max_iter", "snapshot", "snapshot_prefix", "snapshot_format", "snapshot_diff", "solver_mode", "device_id",
    "random_seed", "debug_info",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One statement of the paper beside what a file says."""

    key: str
    stated: str
    found: str
    where: str  # section of the paper, its words, and what they say
    same: bool


def solver_lines(path: str | Path) -> list[Line]:
    """A solver beside section 3.2; whatever else changes its steps is a difference, too.

    Raises:
        ModelError: the file is missing or malformed.
    """
    solver = caffe_net.read_solver(path)
    lines = [
        _line("type", "SGD", solver.type, "3.2 批随机梯度下降法: mini-batch stochastic gradient descent"),
        _line("momentum", 0.9, solver.momentum, "3.2 动量 0.9: momentum"),
        _line("weight_decay", 0.004, solver.weight_decay, "3.2 权值衰减 0.004: weight decay"),
        _line("base_lr", 0.01, solver.base_lr, "3.2 初始学习效率 0.01: initial learning rate"),
        _line("lr_policy", "step", solver.lr_policy, "3.2 the rate falls after every 100 iterations"),
        _line("stepsize", 100, solver.stepsize, "3.2 after every 100 iterations"),
        _line("gamma", 0.1, solver.gamma, "3.2 multiplied by 0.1"),
    ]
    stated = {line.key for line in lines}
    lines += [
        _line(field.name, "nothing", str(value).strip(), "3.2 is silent, and this changes the steps")
        for field, value in solver.ListFields()
        if field.name not in stated | _NEUTRAL and value != field.default_value
    ]
    return lines


def organ_net_lines(path: str | Path) -> list[Line]:
    """The organ net beside sections 3.1(2) and 3.2."""
    layers = caffe_net.read_net(path).layer
    seven = _body(layers)[:7]  # then the classifier of the training
    return [
        _line(
            "layers",
            "conv pool conv pool conv pool fc",
            " ".join(seven),
            "3.2 7层; 3.1(2) 卷积+降采样: convolution and down-sampling",
        ),
        _line("kernel_size", "5", _every(_kernels(layers)), "3.2 卷积核 5×5: kernels"),
        _line("stride", "1", _every(_strides(layers)), "3.2 步幅 1: stride"),
        _line("pool", "MAX 3", _every(_pools(layers)), "3.2 最大采样窗口 3×3: pooling of the largest value"),
        _line("activation", "Sigmoid", _every(_activations(layers)), "3.2 Sigmoid 激活函数: activation"),
    ]


def stage_net_lines(path: str | Path) -> list[Line]:
    """The stager beside section 3.1(3), and LeNet-5 beside it."""
    layers = caffe_net.read_net(path).layer
    kinds = [layer.type for layer in layers]
    last = next((kind for kind in kinds if kind.startswith("Softmax")), "none")
    return [
        _line("layers", "conv pool conv pool fc fc", " ".join(_body(layers)), "3.1(3) 改进 LeNet-5: modified LeNet-5"),
        _line("activation", "ReLU", _every(_activations(layers)), "3.1(3) ReLU 激活函数: activation"),
        _line("Dropout", "yes", "yes" if "Dropout" in kinds else "no", "3.1(3) Dropout 策略: for generalisation"),
        _line("classifier", "Softmax", last.removesuffix("WithLoss"), "3.1(3) Softmax 分类器: classifier"),
    ]


def _line(key: str, stated: str | float, found: str | float, where: str) -> Line:
    same = stated == found if isinstance(stated, str) else np.float32(stated) == np.float32(found)  # as Caffe holds it
    return Line(key, str(stated), found if isinstance(found, str) else f"{found:.6g}", where, bool(same))


def _every(values: Sequence[str]) -> str:
    """The one value of all, or each of them."""
    return " ".join(dict.fromkeys(values)) or "none"


def _body(layers: Sequence[caffe_pb2.LayerParameter]) -> list[str]:
    names = {"Convolution": "conv", "Pooling": "pool", "InnerProduct": "fc"}
    return [names[layer.type] for layer in layers if layer.type in names]


def _convolutions(layers: Sequence[caffe_pb2.LayerParameter]) -> list[caffe_pb2.ConvolutionParameter]:
    return [layer.convolution_param for layer in layers if layer.type == "Convolution"]


def _kernels(layers: Sequence[caffe_pb2.LayerParameter]) -> list[str]:
    return [str(size) for p in _convolutions(layers) for size in (*p.kernel_size, *_given(p, "kernel_h", "kernel_w"))]


def _strides(layers: Sequence[caffe_pb2.LayerParameter]) -> list[str]:
    strides = [(*p.stride, *_given(p, "stride_h", "stride_w")) or (1,) for p in _convolutions(layers)]
    return [str(stride) for of_layer in strides for stride in of_layer]


def _pools(layers: Sequence[caffe_pb2.LayerParameter]) -> list[str]:
    pools = [layer.pooling_param for layer in layers if layer.type == "Pooling"]
    sizes = [_given(p, "kernel_size", "kernel_h", "kernel_w") for p in pools]
    return [f"{p.PoolMethod.Name(p.pool)} {size}" for p, of in zip(pools, sizes, strict=True) for size in of or ["all"]]


def _activations(layers: Sequence[caffe_pb2.LayerParameter]) -> list[str]:
    return [x.type for x in layers if x.type in ("Sigmoid", "ReLU", "PReLU", "ELU", "TanH", "Swish", "AbsVal", "BNLL")]


def _given(parameters, *names: str) -> list[int]:
    return [getattr(parameters, name) for name in names if parameters.HasField(name)]
