"""The variants of the ablation: each is the shipped net and solver with a few lines of text changed."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nbcad.errors import ModelError
from nbcad.experiments.ablation import DATASETS, PHANTOM
from nbcad.runtime.paths import BEYOND_PAPER, ORGAN_NET, SOLVERS, STAGE_NET, from_root
from nbcad.samples.splitting import BY_IMAGE, BY_PATIENT

Edit = tuple[str, str]  # a regular expression and the replacement of its matches

ORGAN, STAGE = "organ", "stage"

# The questions, in the order of the tables.
ACTIVATION = "Sigmoid against ReLU"
SCHEDULE = "the paper's schedule against beyond_paper"
START = "initial weights"
DECAY = "weight decay 0.004 against 0.0005"
SIGN = "the printed plus of Eq. (1) against the minus"
WIDTH = "1024 units in fc7 against 64"
ENHANCEMENT = "enhancement on and off"
SPLIT = "image-wise against patient-wise split"
QUESTIONS = (ACTIVATION, SCHEDULE, START, DECAY, SIGN, WIDTH, ENHANCEMENT, SPLIT)

# Inputs of the SVMs.
FC7, POOL3, PIXELS = "fc7", "pool3", "pixels"
UNTRAINED = "_untrained"
FC7_UNTRAINED, POOL3_UNTRAINED = FC7 + UNTRAINED, POOL3 + UNTRAINED
FEATURES = (FC7, FC7_UNTRAINED, POOL3, POOL3_UNTRAINED, PIXELS)

_OUTPUTS = {ORGAN: r"num_output: 3 .*", STAGE: r"num_output: 5 .*"}  # of the last layer
_VARIED = "  # ours: varied"
_WIDE = r'weight_filler { type: "uniform".*'
_XAVIER = (_WIDE, f'weight_filler {{ type: "xavier" }}{_VARIED}')
_GAUSSIAN = (_WIDE, f'weight_filler {{ type: "gaussian" std: 0.01 }}{_VARIED}')
_RELU = (r'type: "Sigmoid"(.*?)  #.*', rf'type: "ReLU"\1{_VARIED}')
_NARROW = (r"num_output: 1024 .*", f"num_output: 64{_VARIED}")


def _decay(value: float) -> Edit:
    """Return the edit that sets the weight decay."""
    return r"weight_decay: .*", f"weight_decay: {value}{_VARIED}"


@dataclass(frozen=True)
class Variant:
    """One net, one solver and one way of making the images."""

    name: str
    question: str | None = None  # which it answers; None: it is only compared with
    against: str | None = None  # name of the variant to compare it with
    task: str = ORGAN
    net: tuple[Edit, ...] = ()
    solver: tuple[Edit, ...] = ()
    solver_file: Path | None = None  # None: the paper's solver
    svms: tuple[str, ...] = (FC7,)  # inputs among `FEATURES`
    enhanced: bool = True
    split_by: str = BY_PATIENT
    datasets: tuple[str, ...] = DATASETS

    def write(self, folder: Path, lmdbs: Path, classes: int, size: int, seed: int = 1) -> dict[str, Path]:
        """Write the variant's ``train_val``, ``deploy`` and ``solver`` prototxt.

        Besides the variant's own edits, they differ from the shipped files only in the path of the data, the number of
        classes, the size of the images and the seed; and no snapshots are taken.

        Args:
            folder: of the files.
            lmdbs: folder of the LMDBs ``<task>_train`` and ``<task>_val``.
            classes: number of outputs of the net.
            size: pixels along one side of its input.
            seed: of Caffe's random numbers.

        Returns:
            The paths of the files, by the names above.

        Raises:
            ModelError: the pattern of an edit has no match in the shipped file.
        """
        written = {kind: folder / f"{kind}.prototxt" for kind in ("train_val", "deploy", "solver")}
        outputs = (_OUTPUTS[self.task], f"num_output: {classes}")
        edits = {
            "train_val": [*self.net, outputs, (r'"data/lmdb/', f'"{from_root(lmdbs)}/')],
            "deploy": [*self.net, outputs, (r"dim: \d+ dim: \d+ }", f"dim: {size} dim: {size} }}")],
            "solver": [
                *self.solver,
                (r"^net: .*", f'net: "{from_root(written["train_val"])}"'),
                (r"random_seed: .*", f"random_seed: {seed}"),
                (r"snapshot: .*", "snapshot: 0"),
            ],
        }
        folder.mkdir(parents=True, exist_ok=True)
        for kind, path in written.items():
            path.write_text(_edited(self._shipped(kind), edits[kind]))
        return written

    def _shipped(self, kind: str) -> Path:
        """Return the shipped file of a kind."""
        if kind == "solver":
            return self.solver_file or SOLVERS / f"{self.task}_solver.prototxt"
        return {ORGAN: ORGAN_NET, STAGE: STAGE_NET}[self.task] / f"{kind}.prototxt"


def _edited(path: Path, edits: Iterable[Edit]) -> str:
    """Return the text of a shipped file with every edit made.

    Raises:
        ModelError: the pattern of an edit has no match.
    """
    text = path.read_text()
    for pattern, replacement in edits:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if not count:
            raise ModelError(f"{path} has no line {pattern!r} to vary")
    return text


PAPER = Variant("paper", svms=FEATURES)
RELU = Variant("ReLU", ACTIVATION, "xavier", net=(_XAVIER, _RELU), svms=(FC7, FC7_UNTRAINED))
_BEYOND = BEYOND_PAPER / "organ_solver.prototxt"
_STAGE_BEYOND = BEYOND_PAPER / "stage_first_solver.prototxt"
VARIANTS = (
    PAPER,
    Variant("xavier", START, PAPER.name, net=(_XAVIER,), svms=(FC7, FC7_UNTRAINED)),
    RELU,
    Variant("beyond_paper", SCHEDULE, PAPER.name, solver_file=_BEYOND),
    Variant("decay 0.0005", DECAY, PAPER.name, solver=(_decay(0.0005),)),
    Variant("plus", SIGN, PAPER.name, solver=(_decay(-0.004),)),
    Variant("no enhancement", ENHANCEMENT, PAPER.name, enhanced=False, datasets=(PHANTOM,)),
    Variant("split by image", SPLIT, PAPER.name, split_by=BY_IMAGE, datasets=(PHANTOM,)),
    Variant("beyond_paper, decay 0.004", DECAY, "beyond_paper", solver=(_decay(0.004),), solver_file=_BEYOND),
    Variant("beyond_paper, plus", SIGN, "beyond_paper, decay 0.004", solver=(_decay(-0.004),), solver_file=_BEYOND),
    Variant("gaussian 0.01", START, PAPER.name, net=(_GAUSSIAN,), svms=(FC7, FC7_UNTRAINED)),
    Variant("fc7 of 64 units", WIDTH, PAPER.name, net=(_NARROW,), svms=(FC7, FC7_UNTRAINED)),
    Variant("stager, paper", task=STAGE, svms=(), datasets=(PHANTOM,)),
    Variant(
        "stager, beyond_paper",
        SCHEDULE,
        "stager, paper",
        STAGE,
        solver_file=_STAGE_BEYOND,
        svms=(),
        datasets=(PHANTOM,),
    ),
)
