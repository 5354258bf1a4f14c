"""Baselines of the trained models, which show how much of a task is trivial and what the paper's choices bring.

- the most frequent answer, always;
- logistic regression on the pixels;
- the SVM on the organ net as its fillers leave it, before any training;
- the SVM on the organ net with ReLU in place of Sigmoid, trained with the paper's solver.
"""

from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nbcad.errors import ModelError
from nbcad.evaluation.bootstrap import Figure, undefined
from nbcad.evaluation.counts import share
from nbcad.evaluation.types import Baseline
from nbcad.experiments.ablation.variants import RELU
from nbcad.inference import organ
from nbcad.inference.models import Models
from nbcad.nets import caffe_net
from nbcad.nets.labels import organ_labels
from nbcad.runtime.files import refuse_existing
from nbcad.runtime.json_file import read_json
from nbcad.samples import lmdb_io
from nbcad.samples.splitting import SIDES
from nbcad.training import driver
from nbcad.training.organ_svm import fit
from nbcad.training.record import RUN, TrainingRecord

LINEAR_SAMPLES = 10_000
Samples = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]  # images, labels and patients by split


def measure_baselines(sample_database: Path, lmdbs: Path, models: Models, relu: Path) -> dict[str, list[Baseline]]:
    """Measure the test accuracies of the baselines, and of the models on the same samples.

    Args:
        sample_database: SQLite file.
        lmdbs: folder of its LMDBs.
        models: the trained models.
        relu: folder that `train_relu` writes; it may be missing.

    Returns:
        Names and accuracies by task; those of the models come first.
    """
    organs, windows = (
        {split: lmdb_io.read_samples(sample_database, lmdbs, task, split) for split in SIDES}
        for task in ("organ", "stage")
    )
    own = organ.extract_features(models.organ_net, models.organ_transform, organs["test"][0], models.svm.blob)
    (probabilities,) = caffe_net.forward(
        models.stage_fcn, models.stage_transform(windows["test"][0])[:, None], ["prob"]
    )
    tasks = {
        "organ by slice": {
            "the models": _svm_accuracy(models.svm, own, organs),
            "always the most frequent region": _most_frequent(organs),
            "linear on pixels": _linear(organs),
            "SVM on the same net untrained": untrained(organs),
            "SVM on the net with ReLU for Sigmoid": relu_accuracy(relu, organs, lmdbs),
        },
        "stage by window": {
            "the models": _accuracy(probabilities.reshape(len(probabilities), -1).argmax(axis=1), windows),
            "always the most frequent label": _most_frequent(windows),
            "linear on pixels": _linear(windows),
        },
    }
    return {task: [Baseline(name, figure) for name, figure in rows.items()] for task, rows in tasks.items()}


def untrained(samples: Samples, seed: int = 1) -> Figure:
    """Fit the SVM on features of the organ net as its fillers leave it, before any training, and test it."""
    caffe_net.caffe.set_random_seed(seed)
    net = caffe_net.load_net(organ.DEPLOY)
    features = _features(net, samples)
    svm = fit((features["train"], *samples["train"][1:]), features["val"], "fc7", organ_labels())
    return _svm_accuracy(svm, features["test"], samples)


def train_relu(
    out: Path, sample_database: Path, lmdbs: Path, device: str, max_iter: int | None = None, force: bool = False
) -> organ.OrganSvm | None:
    """Train the organ net with ReLU in place of Sigmoid and fit the SVM on its features.

    It starts from xavier, as ReLU nets do; only the sigmoid needs the wide start (`solvers/README.md`).

    Args:
        out: folder of the nets, the training and the SVM.
        sample_database: SQLite file.
        lmdbs: folder of its LMDBs.
        device: "cpu" or "cuda:N".
        max_iter: number of iterations in place of the solver's.
        force: replace an earlier result in ``out``.

    Returns:
        The SVM, or None if a signal ended the training.

    Raises:
        OutputExistsError: ``out`` holds a result and ``force`` is false.
        DatabaseError: the LMDBs are missing, or were not made from this database.
    """
    refuse_existing(out / "svm.json", force)
    samples = {s: lmdb_io.read_samples(sample_database, lmdbs, "organ", s) for s in ("train", "val")}
    files = RELU.write(out, lmdbs, len(organ_labels()), caffe_net.input_size(organ.DEPLOY))
    result = driver.train(files["solver"], out / "run", device, max_iter, force=force)
    if not result.finished:
        return None
    features = _features(caffe_net.load_net(files["deploy"], result.weights), samples)
    svm = fit((features["train"], *samples["train"][1:]), features["val"], "fc7", organ_labels())
    organ.save(svm, out)
    return svm


def relu_accuracy(folder: Path, samples: Samples, lmdbs: Path) -> Figure:
    """Test the SVM that `train_relu` left in a folder.

    The figure is undefined if there is none, or if it was trained on other samples: those of the test patients may be
    among them.
    """
    if not (folder / "svm.json").is_file():
        return undefined("not trained; run `make baselines`")
    trained_on = read_json(folder / "run" / RUN, TrainingRecord, ModelError, "run `make baselines`").sha256.values()
    if lmdb_io.fingerprint(lmdbs / "organ_train") not in trained_on:
        return undefined("trained on other samples; run `make baselines`")
    net = caffe_net.load_net(folder / "deploy.prototxt", folder / "run" / "final.caffemodel")
    return _svm_accuracy(organ.load(folder), _features(net, {"test": samples["test"]})["test"], samples)


def _features(net: caffe_net.caffe.Net, samples: Samples) -> dict[str, np.ndarray]:
    """Return the fc7 features of all samples by split; float32, shape (n, d)."""
    transform = caffe_net.transform_of(organ.TRAIN_VAL)
    return {split: organ.extract_features(net, transform, images, "fc7") for split, (images, *_) in samples.items()}


def _svm_accuracy(svm: organ.OrganSvm, features: np.ndarray, samples: Samples) -> Figure:
    """Return the accuracy of an SVM on the test samples; the answer ``other`` counts as wrong."""
    answers = [svm.labels.index(name) if name in svm.labels else -1 for name in svm.classify(features)[0]]
    return _accuracy(np.array(answers), samples)


def _most_frequent(samples: Samples) -> Figure:
    """Return the accuracy of the most frequent training label as the answer to every test sample."""
    most = np.bincount(samples["train"][1]).argmax()
    return _accuracy(np.full(len(samples["test"][1]), most), samples)


def _linear(samples: Samples) -> Figure:
    """Return the accuracy of a logistic regression on standardised pixels.

    At most `LINEAR_SAMPLES` training samples are used. The penalty is chosen on the validation samples.
    """
    data = {split: (images.reshape(len(images), -1).astype(np.float32), y) for split, (images, y, _) in samples.items()}
    train_on = tuple(values[:LINEAR_SAMPLES] for values in data["train"])  # the keys are in random order
    fitted = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000, tol=1e-3)).fit(*train_on)
        for c in (1e-5, 1e-4, 1e-3)
    ]
    best = max(fitted, key=lambda classifier: classifier.score(*data["val"]))
    return _accuracy(best.predict(data["test"][0]), samples)


def _accuracy(answers: np.ndarray, samples: Samples) -> Figure:
    """Return the share of test samples whose label is the answer, with its interval over patients."""
    _, truth, patients = samples["test"]
    return share(answers == truth, np.unique(patients, return_inverse=True)[1], "no sample")
