"""What the trained models are held against: how much of a task is no task at all, and what the paper's choices bring.

- always the most frequent answer;
- logistic regression on the pixels;
- the organ net as its fillers made it, never trained, with the SVM behind it;
- the organ net with ReLU in place of Sigmoid, trained with the paper's solver, with the SVM behind it.
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


def measure(sample_database: Path, lmdbs: Path, models: Models, relu: Path) -> dict[str, list[Baseline]]:
    """Test accuracies of the baselines, and of the models on the very same samples.

    Args:
        sample_database: SQLite file.
        lmdbs: folder of its LMDBs.
        models: the trained models.
        relu: what `train_relu` left, or not.

    Returns:
        By task rows of ``name`` and ``accuracy``, the models' own first.
    """
    organs, windows = (
        {split: lmdb_io.read_samples(sample_database, lmdbs, task, split) for split in SIDES}
        for task in ("organ", "stage")
    )
    own = organ.extract_features(models.organ_net, models.organ_transform, organs["test"][0], models.svm.blob)
    (seen,) = caffe_net.forward(models.stage_fcn, models.stage_transform(windows["test"][0])[:, None], ["prob"])
    tasks = {
        "organ by slice": {
            "the models": _sorted_right(models.svm, own, organs),
            "always the most frequent region": _most_frequent(organs),
            "linear on pixels": _linear(organs),
            "SVM on the same net untrained": untrained(organs),
            "SVM on the net with ReLU for Sigmoid": relu_accuracy(relu, organs, lmdbs),
        },
        "stage by window": {
            "the models": _share(seen.reshape(len(seen), -1).argmax(axis=1) == windows["test"][1], windows),
            "always the most frequent label": _most_frequent(windows),
            "linear on pixels": _linear(windows),
        },
    }
    return {task: [Baseline(name, figure) for name, figure in rows.items()] for task, rows in tasks.items()}


def untrained(samples: Samples, seed: int = 1) -> Figure:
    """The SVM on features of the organ net as its fillers made it, before any training."""
    caffe_net.caffe.set_random_seed(seed)
    net = caffe_net.load_net(organ.DEPLOY)
    features = _features(net, samples)
    svm = fit((features["train"], *samples["train"][1:]), features["val"], "fc7", organ_labels())
    return _sorted_right(svm, features["test"], samples)


def train_relu(
    out: Path, sample_database: Path, lmdbs: Path, device: str, max_iter: int | None = None, force: bool = False
) -> organ.OrganSvm | None:
    """Train the organ net with ReLU in place of Sigmoid and fit the SVM on its features.

    It starts from xavier, as ReLU nets do; the wide start is the sigmoid's need (`solvers/README.md`).

    Args:
        out: folder of the nets, the training and the SVM.
        sample_database: SQLite file.
        lmdbs: folder of its LMDBs.
        device: "cpu" or "cuda:N".
        max_iter: instead of the solver's.
        force: throw away what stands in ``out``.

    Returns:
        The SVM, None if a signal ended the training.
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
    """Undefined where it was not trained, or on other samples, among which may be the test patients'."""
    if not (folder / "svm.json").is_file():
        return undefined("not trained; run `make baselines`")
    trained_on = read_json(folder / "run" / RUN, TrainingRecord, ModelError, "run `make baselines`").sha256.values()
    if lmdb_io.fingerprint(lmdbs / "organ_train") not in trained_on:
        return undefined("trained on other samples; run `make baselines`")
    net = caffe_net.load_net(folder / "deploy.prototxt", folder / "run" / "final.caffemodel")
    return _sorted_right(organ.load(folder), _features(net, {"test": samples["test"]})["test"], samples)


def _features(net: caffe_net.caffe.Net, samples: Samples) -> dict[str, np.ndarray]:
    transform = caffe_net.transform_of(organ.TRAIN_VAL)
    return {split: organ.extract_features(net, transform, images, "fc7") for split, (images, *_) in samples.items()}


def _sorted_right(svm: organ.OrganSvm, features: np.ndarray, samples: Samples) -> Figure:
    """As the models do: ``other`` is wrong."""
    names = np.array(svm.labels)[samples["test"][1]]
    return _share(np.array(svm.classify(features)[0]) == names, samples)


def _most_frequent(samples: Samples) -> Figure:
    most = np.bincount(samples["train"][1]).argmax()
    return _share(samples["test"][1] == most, samples)


def _linear(samples: Samples) -> Figure:
    """Logistic regression on standardised pixels, its penalty chosen on the validation samples.

    At most `LINEAR_SAMPLES` training samples are used.
    """
    data = {split: (images.reshape(len(images), -1).astype(np.float32), y) for split, (images, y, _) in samples.items()}
    train_on = tuple(values[:LINEAR_SAMPLES] for values in data["train"])  # the keys are in random order
    fitted = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000, tol=1e-3)).fit(*train_on)
        for c in (1e-5, 1e-4, 1e-3)
    ]
    best = max(fitted, key=lambda classifier: classifier.score(*data["val"]))
    return _share(best.predict(data["test"][0]) == data["test"][1], samples)


def _share(right: np.ndarray, samples: Samples) -> Figure:
    _, patient = np.unique(samples["test"][2], return_inverse=True)
    return share(right, patient, "no sample")
