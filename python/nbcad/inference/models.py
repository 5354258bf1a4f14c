"""Folders of trained models, sealed with a hash of every file when complete and loaded only as sealed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nbcad.errors import ModelError
from nbcad.inference import SEAL, heat, organ
from nbcad.inference.calibration import Calibration
from nbcad.inference.lesions import OperatingPoint
from nbcad.inference.operating_point import ChosenPoint
from nbcad.inference.organ import OrganSvm
from nbcad.inference.suitability import LIKENESS, LIMITS, Likeness, TrainingData
from nbcad.language.message import Message, Value, message
from nbcad.nets import caffe_net
from nbcad.nets.labels import organ_labels, stage_labels
from nbcad.runtime.json_file import read_json, write_json
from nbcad.runtime.paths import shown

SCHEMA = "nbcad-model/1"
ORGAN_FILES = {"organ_net": "final.caffemodel", "organ_svm": "svm.skops", "organ_svm_info": "svm.json",
               "likeness": LIKENESS, "suitability": LIMITS}  # fmt: skip
STAGE_FILES = {"stage_net": "final.caffemodel", "operating_point": "operating_point.json"}
_REMEDY = {
    "organ": message("run `make train-organ`, or `nbcad fit-organ-svm` if the net is as it should be"),
    "stage": message("run `make train-stage`, or `nbcad choose-operating-point` if the net is as it should be"),
}


@dataclass(frozen=True, slots=True)
class _Seal:
    """The seal of one model's files: ``model.json``."""

    schema: str
    kind: str  # "organ" or "stage"
    labels: tuple[str, ...]  # of the outputs
    sha256: dict[str, str]  # by file name


@dataclass(frozen=True)
class ModelFiles:
    """The location of trained models, from which another process can load the same ones."""

    folder: Path
    stage_folder: Path
    device: str
    sha256: tuple[tuple[str, str], ...]  # by a file's role

    @property
    def paths(self) -> list[Path]:
        """Return the paths of all files."""
        return [
            *(self.folder / "organ" / name for name in (*ORGAN_FILES.values(), SEAL)),
            *(self.stage_folder / name for name in (*STAGE_FILES.values(), SEAL)),
        ]


@dataclass
class Models:
    """All trained models, ready to use."""

    organ_net: caffe_net.caffe.Net
    organ_transform: caffe_net.Transform
    svm: OrganSvm
    likeness: Likeness
    stage_fcn: caffe_net.caffe.Net
    stage_transform: caffe_net.Transform
    point: OperatingPoint
    calibration: Calibration
    stages: list[str]
    trained_on: TrainingData
    n4: bool
    device: str  # "cpu" or "cuda:N"
    sha256: dict[str, str]
    files: ModelFiles | None = None  # None: built in memory


def seal_organ(folder: Path) -> None:
    """Write the hashes of an organ model's files beside them."""
    _seal(folder, "organ", ORGAN_FILES, organ_labels())


def seal_stage(folder: Path) -> None:
    """Write the hashes of a stager's files beside them."""
    _seal(folder, "stage", STAGE_FILES, stage_labels())


def load_models(folder: Path, device: str, stage_folder: Path | None = None) -> Models:
    """Load trained models.

    Args:
        folder: the results of ``make train-organ`` and ``make train-stage``, in ``organ`` and ``stage``.
        device: "cpu" or "cuda:N".
        stage_folder: the stager's folder, if not ``folder/stage``.

    Raises:
        ModelError: a file is missing, differs from the sealed one, or does not fit.
        DeviceError: the device is not available.
    """
    stage_folder = stage_folder or folder / "stage"
    sha256 = _checked(folder / "organ", "organ", ORGAN_FILES, organ_labels())
    sha256 |= _checked(stage_folder, "stage", STAGE_FILES, stage_labels())
    caffe_net.use_device(device)
    chosen = read_json(stage_folder / STAGE_FILES["operating_point"], ChosenPoint, ModelError, _REMEDY["stage"])
    svm = organ.load(folder / "organ")
    _fit("organ", message("the SVM in {path}", path=str(folder / "organ")), len(svm.labels), organ_labels())
    stage_fcn = heat.to_fully_convolutional(stage_folder / STAGE_FILES["stage_net"])
    _fit("stage", shown(heat.FCN), stage_fcn.blobs["prob"].shape[1], stage_labels())
    return Models(
        organ_net=caffe_net.load_net(organ.DEPLOY, folder / "organ" / ORGAN_FILES["organ_net"]),
        organ_transform=caffe_net.transform_of(organ.TRAIN_VAL),
        svm=svm,
        likeness=Likeness.load(folder / "organ"),
        stage_fcn=stage_fcn,
        stage_transform=caffe_net.transform_of(heat.TRAIN_VAL),
        point=chosen.point,
        calibration=chosen.calibration,
        stages=stage_labels(),
        trained_on=chosen.trained_on,
        n4=chosen.n4,
        device=device,
        sha256=sha256,
        files=ModelFiles(folder.absolute(), stage_folder.absolute(), device, tuple(sha256.items())),
    )


@lru_cache(maxsize=1)
def kept_models(files: ModelFiles) -> Models:
    """Load trained models once per process.

    Raises:
        ModelError: see `load_models`; or the files are not those that the caller sees.
        DeviceError: the device is not available.
    """
    models = load_models(files.folder, files.device, files.stage_folder)
    if models.files != files:
        reason = message(
            "the models in {folder} and {stage_folder} are not the same for all workers",
            folder=str(files.folder),
            stage_folder=str(files.stage_folder),
        )
        raise ModelError(reason)
    return models


def _fit(kind: str, what: Value, outputs: int, labels: Sequence[str]) -> None:
    """Refuse a model whose number of outputs differs from the number of labels.

    Raises:
        ModelError: see `load_models`.
    """
    if outputs != len(labels):
        reason = message(
            "{what} has {outputs} outputs, config/labels/{kind}.txt has {count} names; make the numbers equal and "
            "train again",
            what=what,
            outputs=outputs,
            kind=kind,
            count=len(labels),
        )
        raise ModelError(reason)


def _seal(folder: Path, kind: str, files: dict[str, str], labels: Sequence[str]) -> None:
    hashes = {name: _sha256(folder / name) for name in files.values()}
    write_json(_Seal(SCHEMA, kind, tuple(labels), hashes), folder / SEAL)


def _checked(folder: Path, kind: str, files: dict[str, str], labels: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each file by its role, after checking the seal.

    Raises:
        ModelError: see `load_models`.
    """
    for path in (folder / name for name in (*files.values(), SEAL)):
        if not path.is_file():
            raise ModelError(
                message("model file {path} does not exist; {remedy}", path=str(path), remedy=_REMEDY[kind])
            )
    seal = read_json(folder / SEAL, _Seal, ModelError, _REMEDY[kind])
    for what, sealed, wanted in (
        ("schema", seal.schema, SCHEMA),
        ("kind", seal.kind, kind),
        ("labels", list(seal.labels), list(labels)),
    ):
        if sealed != wanted:
            raise ModelError(_unlike(folder / SEAL, what, sealed, wanted, _REMEDY[kind]))
    hashes = {name: seal.sha256.get(name, "") for name in files.values()}
    for name, wanted in hashes.items():
        if _sha256(folder / name) != wanted:
            reason = message(
                "model file {path} differs from the one that {seal} names; {remedy}",
                path=str(folder / name),
                seal=SEAL,
                remedy=_REMEDY[kind],
            )
            raise ModelError(reason)
    return {what: hashes[name] for what, name in files.items()}


def _unlike(path: Path, key: str, found: object, wanted: object, remedy: Message) -> Message:
    return message(
        "{path}: {key} is {found}, not {wanted}; {remedy}",
        path=str(path),
        key=key,
        found=str(found),
        wanted=str(wanted),
        remedy=remedy,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
