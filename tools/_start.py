"""What each script of this folder begins with: the package, by the interpreter that has it."""

import importlib.util
import os
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_NEEDED = ("nbcad", "argcomplete")  # the package, and a library that only its environment has
_STARTED = "NBCAD_TOOL_STARTED"  # environment variable: this process was started by another interpreter


def _has(name: str) -> bool:
    """Return whether a package is there, and not only a folder of its name."""
    found = importlib.util.find_spec(name)
    return found is not None and found.origin is not None


def start(script: str) -> None:
    """Run the step that a script is named after, by the repository's own Python where this one lacks the package."""
    # Written for any Python 3 that a system may have.
    started = os.environ.pop(_STARTED, "")
    if all(_has(name) for name in _NEEDED):
        from nbcad.__main__ import run_tool

        run_tool(Path(script).resolve().stem.replace("_", "-"))
    python = _ROOT / ".venv" / "bin" / "python"
    if not started and os.access(str(python), os.X_OK):
        os.environ[_STARTED] = "yes"
        os.execv(str(python), [str(python), *sys.argv])
    lacking = "has not all packages" if started else "does not exist"
    sys.exit(f"{Path(sys.argv[0]).name}: error: {_ROOT / '.venv'} {lacking}; run `make caffe` in {_ROOT}")
