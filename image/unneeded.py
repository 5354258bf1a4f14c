"""Print the installed packages that nbcad and pycaffe do not need to run, one on each line: the tests', and pip."""

from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYCAFFE = Path(__file__).parent.parent / "caffe" / "requirements.txt"


def needed(names: list[str]) -> set[str]:
    """Return these packages and, recursively, the packages they require without extras."""
    found: set[str] = set()
    while names:
        name = canonicalize_name(names.pop())
        if name not in found:
            found.add(name)
            requirements = map(Requirement, metadata.requires(name) or [])
            names += [r.name for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


if __name__ == "__main__":
    pycaffe = [line for line in PYCAFFE.read_text().splitlines() if not line.startswith("#")]
    installed = {canonicalize_name(package.name) for package in metadata.distributions()}
    print(*sorted(installed - needed(["nbcad", *pycaffe])), sep="\n")
