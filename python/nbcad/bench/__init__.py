"""What the steps cost on this machine. One module a part, with ``measure(folder, size) -> list[Figure]``."""

import importlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from nbcad import cli, machine

PARTS = ("conversion", "layers", "placing")


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    bound: float | None = None  # what it may not exceed
    least: float | None = None  # what it should reach

    def __str__(self) -> str:
        goal = ""
        if self.bound is not None:
            goal = f"   at most {self.bound:g}{'' if self.value <= self.bound else ': EXCEEDED'}"
        if self.least is not None:
            goal = f"   at least {self.least:g}{'' if self.value >= self.least else ': MISSED'}"
        return f"{self.name:<58} {self.value:>10.4g} {self.unit:<9}{goal}".rstrip()


def run(parts: list[str], size: int, out: Path) -> dict[str, list[Figure]]:
    """Measure some of `PARTS` and write ``bench.json``; parts that are not measured keep their figures in it.

    Args:
        parts: names of `PARTS`. Their figures in the unit "ratio" stand once more under ``ratios``.
        size: how much each is given, in its own unit (conversion: slices; layers: a round each thousand).
        out: the JSON file.

    Returns:
        Figures by part.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    measured = {}
    for part in parts:
        with tempfile.TemporaryDirectory(prefix=f".{part}.", dir=out.parent) as folder:
            measured[part] = importlib.import_module(f"nbcad.bench.{part}").measure(Path(folder), size)
    known = json.loads(out.read_text()) if out.is_file() else {}
    for part, figures in measured.items():
        ratios = {figure.name: figure.value for figure in figures if figure.unit == "ratio"}
        known["ratios"] = known.get("ratios", {}) | ratios
        known[part] = {"machine": machine.describe(), "size": size, "figures": [asdict(figure) for figure in figures]}
    with cli.replacing_file(out) as temporary:
        temporary.write_text(json.dumps(known, indent=2) + "\n")
    return measured
