"""Where the files of the repository stand: nets, solvers, labels and settings, whatever folder a command runs in.

The user's own paths are relative to the folder that the user stands in. Paths inside a prototxt are relative to `ROOT`,
as the stock ``caffe train`` wants them.
"""

from contextlib import chdir
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

MODELS = ROOT / "models"
ORGAN_NET = MODELS / "organ_net"
STAGE_NET = MODELS / "stage_lenet5"
SVM_CONFIG = MODELS / "organ_svm" / "svm.toml"

SOLVERS = ROOT / "solvers"
ORGAN_SOLVER = SOLVERS / "organ_solver.prototxt"
STAGE_SOLVER = SOLVERS / "stage_solver.prototxt"
BEYOND_PAPER = SOLVERS / "beyond_paper"

CONFIG = ROOT / "config"
LABELS = CONFIG / "labels"
SERIES_RULES = CONFIG / "series_rules.toml"
NODE_CONFIG = CONFIG / "node.toml"

DATA = ROOT / "data"  # generated
RUNS = ROOT / "runs"  # generated


def shown(path: Path) -> str:
    """Return a path as messages name it: relative to the repository where it lies in it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def from_root(path: str | Path) -> str:
    """Return a path as a prototxt or a record names it: relative to `ROOT` where it lies in it, else absolute."""
    return shown(Path(path).absolute())


def from_here(path: Path) -> Path:
    """Return one of the repository's paths as seen from the working directory: relative where it lies below it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def at_root() -> chdir:
    """Make `ROOT` the working directory for a while, as Caffe needs it to find what a prototxt names."""
    return chdir(ROOT)
