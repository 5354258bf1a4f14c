"""The software and the trained models, as ``nbcad --version`` tells of them; Caffe need not be built."""

import importlib.util
import json
import platform
from collections.abc import Iterator
from pathlib import Path

import nbcad
from nbcad.inference import SEAL
from nbcad.runtime import paths

_KINDS = {"organ": "organ net and SVM", "stage": "stager"}
_WEIGHTS = "final.caffemodel"
_DIGITS = 12  # of a hash


def tell() -> None:
    """Print the versions of nbcad, Python and Caffe, and a line for each trained model."""
    print(f"nbcad {nbcad.__version__}, {paths.ROOT}")
    print(f"Python {platform.python_version()}")
    print(f"Caffe {_caffe()}")
    models = list(trained(paths.RUNS))
    for line in models:
        print(f"model {line}")
    if not models:
        print("models: none trained; make demo trains some on synthetic data")


def trained(runs: Path) -> Iterator[str]:
    """Yield what each trained model is and how it was made, a line each.

    Args:
        runs: the folder that the models' folders lie in, themselves or one further down.
    """
    for seal in sorted([*runs.glob(f"*/{SEAL}"), *runs.glob(f"*/*/{SEAL}")]):
        try:
            yield f"{paths.shown(seal.parent)}: {_model(seal)}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield f"{paths.shown(seal.parent)}: {SEAL} cannot be read: {error}"


def _model(seal: Path) -> str:
    """Return what a model is, its hash, and the solver that its net comes from."""
    facts = json.loads(seal.read_text())
    labels, digest = ", ".join(facts["labels"]), facts["sha256"][_WEIGHTS][:_DIGITS]
    text = f"{_KINDS.get(facts['kind'], facts['kind'])} ({labels}), weights {digest}"
    record = seal.with_name("run.json")
    if not record.is_file():
        return text
    training = json.loads(record.read_text())
    return f"{text}, {training['files']['solver']}, {training['iteration']} iterations"


def _caffe() -> str:
    """Return Caffe's version and build, or how to build it."""
    found = importlib.util.find_spec("caffe")
    if found is None or found.origin is None:  # the repository's folder caffe/ may be found in its place
        return "not built: make caffe"
    from nbcad.nets import caffe_net

    facts = caffe_net.software()
    return f"{caffe_net.caffe.__version__}, build {facts['Caffe']}, {facts[caffe_net.LAYERS]} layers"
