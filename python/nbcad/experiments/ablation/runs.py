"""Training and measuring of the variants: a row for each run, which is then not run again."""

import csv
import shutil
import time
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from nbcad.experiments.ablation import DATASETS
from nbcad.experiments.ablation.datasets import Pool, Source
from nbcad.experiments.ablation.variants import FEATURES, PIXELS, UNTRAINED, VARIANTS, Variant
from nbcad.inference import organ
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe
from nbcad.runtime.files import replacing_file
from nbcad.runtime.paths import SVM_CONFIG, at_root, from_root
from nbcad.runtime.progress import progress
from nbcad.samples import lmdb_io
from nbcad.training.driver import train
from nbcad.training.organ_svm import choose, folds

SEEDS = (1, 2, 3, 4, 5)
RESULTS = "results.csv"
SVM_SAMPLES = 1000  # largest number of training samples for the SVMs


@dataclass(frozen=True)
class Row:
    """The results of one run; accuracies are shares of the test samples, None where they were not measured."""

    variant: str
    dataset: str
    seed: int
    iterations: int
    guessing_loss: float  # of a net that always answers with the shares of the classes
    train_loss: float  # mean over the last iterations that were logged together
    growth: float  # norm of all weights after the training, relative to that before
    softmax: float
    svm_fc7: float | None
    svm_fc7_untrained: float | None
    svm_pool3: float | None
    svm_pool3_untrained: float | None
    svm_pixels: float | None
    seconds: float  # of processor time

    @property
    def run(self) -> tuple[str, str, int]:
        """Return the variant, data set and seed, which identify the run."""
        return self.variant, self.dataset, self.seed


def run_all(
    out: Path,
    source: Source,
    chosen: Sequence[str] = DATASETS,
    variants: Sequence[Variant] = VARIANTS,
    seeds: Sequence[int] = SEEDS,
    max_iter: int | None = None,
) -> list[Row]:
    """Run every variant with every seed on every data set, except for runs that have a row already.

    Args:
        out: folder of `RESULTS`, and of the nets, solvers and logs of the runs, without weights.
        source: of the images.
        chosen: data sets, in the order in which they run.
        variants: the variants to run.
        seeds: of the split, of the order of the samples and of Caffe.
        max_iter: number of iterations in place of the solvers'.

    Returns:
        All rows, including those of earlier calls.
    """
    rows = read_rows(out / RESULTS)
    done = {row.run for row in rows}
    wanted = [
        (dataset, seed, variant)
        for dataset in chosen
        for seed in seeds
        for variant in variants
        if dataset in variant.datasets and (variant.name, dataset, seed) not in done
    ]
    for dataset, seed, variant in progress(wanted, desc="ablation", unit="run"):
        folder = run_folder(out, variant.name, dataset, seed)
        rows.append(_run(variant, dataset, seed, source.pool(dataset, variant), folder, max_iter))
        _write_rows(rows, out / RESULTS)
    return rows


def run_folder(out: Path, variant: str, dataset: str, seed: int) -> Path:
    """Return the folder of a run's nets and solver; its log lies in ``run`` below it."""
    return out / dataset / variant.replace(" ", "_").replace(",", "") / str(seed)


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a table of results; none if the file is missing."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [_row(cells) for cells in csv.DictReader(file)]


def _row(cells: dict[str, str]) -> Row:
    """Return the row that a line of the CSV holds."""
    measured = {name: float(cells[name]) if cells[name] else None for name in (f"svm_{name}" for name in FEATURES)}
    return Row(
        variant=cells["variant"],
        dataset=cells["dataset"],
        seed=int(cells["seed"]),
        iterations=int(cells["iterations"]),
        guessing_loss=float(cells["guessing_loss"]),
        train_loss=float(cells["train_loss"]),
        growth=float(cells["growth"]),
        softmax=float(cells["softmax"]),
        **measured,
        seconds=float(cells["seconds"]),
    )


def _write_rows(rows: list[Row], path: Path) -> None:
    """Write the table of results as a CSV, with five decimals."""
    with replacing_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(row).items()})


def _run(variant: Variant, dataset: str, seed: int, pool: Pool, folder: Path, max_iter: int | None) -> Row:
    """Train a variant once, and measure it.

    Raises:
        KeyboardInterrupt: a signal ended the training.
    """
    started = time.process_time()
    samples = pool.draw(seed, variant.split_by)
    lmdbs = folder / "lmdb"
    for side, (images, labels, _) in samples.items():
        lmdb_io.write(lmdbs / f"{variant.task}_{side}", images, labels)
    files = variant.write(folder, lmdbs, pool.classes, pool.size, seed)
    untrained = untrained_net(files, seed)
    result = train(files["solver"], folder / "run", max_iter=max_iter, force=True)
    if result.weights is None:  # a signal ended the training, and is meant for the other runs, too
        raise KeyboardInterrupt
    trained = caffe_net.load_net(files["deploy"], result.weights)
    shutil.rmtree(lmdbs)
    result.weights.unlink()
    transform = caffe_net.transform_of(files["train_val"])

    def features(name: str, images: np.ndarray) -> np.ndarray:
        if name == PIXELS:
            return images.reshape(len(images), -1).astype(np.float32)
        net = untrained if name.endswith(UNTRAINED) else trained
        return organ.extract_features(net, transform, images, name.removesuffix(UNTRAINED))

    test_images, truth, _ = samples["test"]
    train_images, train_truth, patients = (values[:SVM_SAMPLES] for values in samples["train"])  # in random order
    svms: dict[str, float | None] = dict.fromkeys(FEATURES)
    for name in variant.svms:
        svm = _fit_svm((features(name, train_images), train_truth, patients))
        svms[name] = float(svm.score(features(name, test_images), truth))
    return Row(
        variant=variant.name,
        dataset=dataset,
        seed=seed,
        iterations=result.iteration,
        guessing_loss=_entropy(samples["train"][1]),
        train_loss=result.log[-1].train_loss,
        growth=_norm(trained) / _norm(untrained),
        softmax=float((features("prob", test_images).argmax(axis=1) == truth).mean()),
        **{f"svm_{name}": accuracy for name, accuracy in svms.items()},
        seconds=time.process_time() - started,
    )


def untrained_net(files: dict[str, Path], seed: int) -> caffe.Net:
    """Return the deploy net with the initial weights of a training.

    They are drawn as Caffe's solver draws them: in a net whose Data layer takes random numbers before the fillers do.

    Args:
        files: result of `Variant.write`.
        seed: of Caffe's random numbers.
    """
    caffe.set_random_seed(seed)
    with at_root():
        start = caffe.Net(from_root(files["train_val"]), caffe.TRAIN)
    net = caffe_net.load_net(files["deploy"])
    for name, blobs in net.params.items():
        for blob, first in zip(blobs, start.params[name], strict=True):
            blob.data[...] = first.data
    return net


def _norm(net: caffe.Net) -> float:
    """Return the Euclidean norm of all weights of a net without its biases."""
    return float(np.sqrt(sum(np.square(blobs[0].data).sum(dtype=float) for blobs in net.params.values())))


def _fit_svm(train: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Pipeline:
    """Fit the organ SVM's classifier to features, labels and patients, with C and gamma chosen for these features."""
    features, labels, _ = train
    with SVM_CONFIG.open("rb") as file:
        grid = tomllib.load(file)
    c, gamma, _ = choose(features, labels, folds(train, grid["folds"]), grid)
    return make_pipeline(StandardScaler(), SVC(C=c, gamma=gamma)).fit(features, labels)


def _entropy(labels: np.ndarray) -> float:
    """Return the entropy of the shares of the classes, in nats."""
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(shares * np.log(shares)).sum())
