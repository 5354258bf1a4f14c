"""Why the organ net starts from wide weights: the paper's solver from several starts, measured side by side.

A sigmoid net with usual initial weights stays at chance under the paper's numbers. Each variant here is the organ net
with other fillers, or with ReLU in place of Sigmoid, or trained by another solver; the outcome stands in
`solvers/README.md`.
"""

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from nbcad import caffe_net, cli, lmdb_io, organ
from nbcad.caffe_net import caffe_pb2
from nbcad.train import train

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PAPER = "solvers/organ_solver.prototxt"
BEYOND = "solvers/beyond_paper/organ_solver.prototxt"
SVM_C, SVM_GAMMA_TIMES_FEATURES, SVM_SAMPLES = 10.0, 0.3, 2000  # the same for all variants


@dataclass(frozen=True)
class Variant:
    """One start of the organ net and the solver that goes on from there."""

    name: str
    change: Callable[[caffe_pb2.NetParameter], None]
    solver: str = PAPER


def _fill(layer: caffe_pb2.LayerParameter) -> caffe_pb2.FillerParameter:
    inner = layer.type == "InnerProduct"
    return (layer.inner_product_param if inner else layer.convolution_param).weight_filler


def _set_fillers(net: caffe_pb2.NetParameter, **values) -> None:
    for layer in net.layer:
        if layer.type in ("Convolution", "InnerProduct"):
            _fill(layer).Clear()
            _fill(layer).MergeFrom(caffe_pb2.FillerParameter(**values))


def _relu(net: caffe_pb2.NetParameter) -> None:
    _set_fillers(net, type="xavier")
    for layer in net.layer:
        if layer.type == "Sigmoid":
            layer.type = "ReLU"


def _narrow(net: caffe_pb2.NetParameter) -> None:
    for layer in net.layer:
        if layer.name == "fc7":
            layer.inner_product_param.num_output = 64


RELU = Variant("xavier, ReLU for Sigmoid", _relu)
VARIANTS = (
    Variant("xavier", lambda net: _set_fillers(net, type="xavier")),
    Variant("gaussian 0.01", lambda net: _set_fillers(net, type="gaussian", std=0.01)),
    Variant("8 x Glorot (chosen)", lambda net: None),
    Variant("8 x Glorot, fc7 of 64 units", _narrow),
    RELU,
    Variant("8 x Glorot, solver beyond the paper", lambda net: None, BEYOND),
)


def measure(
    out: Path, sample_database: Path, lmdbs: Path, variants: tuple[Variant, ...] = VARIANTS, max_iter: int | None = None
) -> list[dict]:
    """Train every variant and fit the SVM on its features, trained and untrained.

    Args:
        out: folder of the trainings, of ``initial_weights.csv`` (the curves) and ``initial_weights.png``.
        sample_database: SQLite file.
        lmdbs: folder of its LMDBs.
        variants: what to compare.
        max_iter: instead of the solvers'.

    Returns:
        A row a variant: last training loss, test accuracy of the softmax head, of the SVM on fc7 trained and untrained.
    """
    data = {split: lmdb_io.read_samples(sample_database, lmdbs, "organ", split)[:2] for split in ("train", "test")}
    data["train"] = tuple(values[:SVM_SAMPLES] for values in data["train"])  # the keys are in random order
    rows, curves = [], []
    for variant in variants:
        folder = out / re.sub(r"\W+", "_", variant.name)
        nets = write_nets(variant, folder, lmdbs)
        result = train(write_solver(variant, folder, nets["train_val"]), folder / "run", max_iter=max_iter, force=True)
        if not result.finished:  # a signal ended it: the other variants are not wanted either
            raise KeyboardInterrupt
        curves += [{"variant": variant.name} | row for row in result.log]
        trained = _accuracies(nets["deploy"], result.weights, data)
        rows.append(
            {
                "variant": variant.name,
                "solver": variant.solver,
                "train_loss": result.log[-1]["train_loss"],
                "softmax": trained["score"],
                "svm": trained["fc7"],
                "svm_untrained": _accuracies(nets["deploy"], None, data)["fc7"],
            }
        )
    with cli.replacing_file(out / "initial_weights.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(curves[0]), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(curves)
    plot(curves, _loss_of_guessing(data["train"][1]), out / "initial_weights.png")
    return rows


def write_nets(variant: Variant, folder: Path, lmdbs: Path) -> dict[str, Path]:
    """Write the variant's nets, ``train_val`` and ``deploy``, to read from the given LMDBs."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for kind, source in (("train_val", organ.TRAIN_VAL), ("deploy", organ.DEPLOY)):
        net = caffe_net.read_net(source)
        variant.change(net)
        for layer in net.layer:
            if layer.type == "Data":
                layer.data_param.source = str(lmdbs / Path(layer.data_param.source).name)
        paths[kind] = folder / f"{kind}.prototxt"
        paths[kind].write_text(str(net))
    return paths


def write_solver(variant: Variant, folder: Path, net: Path) -> Path:
    """Write the variant's solver of the given net."""
    solver = caffe_net.read_solver(variant.solver)
    solver.net = str(net)
    (folder / "solver.prototxt").write_text(str(solver))
    return folder / "solver.prototxt"


def _accuracies(deploy: Path, weights: Path | None, data: dict) -> dict[str, float]:
    """Test accuracies of the softmax head and of an SVM on fc7; without weights the net is as its fillers made it."""
    caffe_net.caffe.set_random_seed(1)
    net = caffe_net.load_net(deploy, weights)
    transform = caffe_net.transform_of(organ.TRAIN_VAL)
    features = {s: organ.extract_features(net, transform, images, "fc7") for s, (images, _) in data.items()}
    svc = SVC(C=SVM_C, gamma=SVM_GAMMA_TIMES_FEATURES / features["train"].shape[1])
    svm = make_pipeline(StandardScaler(), svc).fit(features["train"], data["train"][1])
    images, truth = data["test"]
    scores = organ.extract_features(net, transform, images, "score")
    return {"fc7": float(svm.score(features["test"], truth)), "score": float((scores.argmax(axis=1) == truth).mean())}


def _loss_of_guessing(labels: np.ndarray) -> float:
    """The loss of a net that says the classes' shares whatever it sees: their entropy."""
    shares = np.bincount(labels) / len(labels)
    return float(-(shares * np.log(shares)).sum())


def plot(curves: list[dict], chance: float, path: Path) -> None:
    """Training loss over the iterations, a line a variant, and the loss of guessing."""
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for name in dict.fromkeys(row["variant"] for row in curves):
        points = [(row["iteration"], row["train_loss"]) for row in curves if row["variant"] == name]
        axes.plot(*zip(*points, strict=True), label=name)
    axes.axhline(chance, color="grey", linestyle=":", label="guessing by the shares of the classes")
    axes.set(xlabel="iteration", ylabel="training loss", ylim=(0, None), title="Organ net on phantom data (synthetic)")
    figure.legend(loc="outside lower center", ncols=3)
    axes.grid(alpha=0.3)
    with cli.replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=90, format="png")
    plt.close(figure)
