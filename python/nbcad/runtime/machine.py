"""The processor and the software that a result was computed with."""

import hashlib
import os
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

import nbcad

_LIBRARIES = ("numpy", "opencv-python-headless", "pydicom", "SimpleITK")  # what images depend on


def processor() -> str:
    """Return the processor's name as the kernel gives it, or else its architecture."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())


def describe() -> dict[str, str | int]:
    """Return the processor, the number of cores this process may use, and Python's version."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }


@cache
def software() -> dict[str, str]:
    """Return this package's version, a hash of its sources, and the versions of the libraries that images depend on.

    They are read once: a process keeps running the sources it started with.
    """
    sources = sorted(Path(nbcad.__file__).parent.rglob("*.py"))
    return {
        "nbcad": nbcad.__version__,
        "nbcad_sha256": sha256(sources),
        **{name: version(name) for name in _LIBRARIES},
    }


def sha256(files: Iterable[Path]) -> str:
    """Return the SHA-256 of the concatenated bytes of some files."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()
