"""Benchmarks: the time and memory that the steps take on this machine.

Each part is a module with a function ``(folder, size) -> list[Figure | Curve]``, which `PARTS` names.
"""

import importlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from nbcad.runtime import machine
from nbcad.runtime.files import replacing_file

PARTS = {  # the function that measures a part, by the name of its module
    "study": "measure_study",
    "archive": "measure_memory",
    "training": "measure_iterations",
    "svm": "measure_fits",
    "conversion": "measure_conversion",
    "layers": "measure_layers",
    "placing": "measure_placing",
    "node": "measure_node",
}


@dataclass(frozen=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    bound: float | None = None  # the value must not exceed it
    least: float | None = None  # the value should reach it

    def __str__(self) -> str:
        goal = ""
        if self.bound is not None:
            goal = f"   at most {self.bound:g}{'' if self.value <= self.bound else ': EXCEEDED'}"
        if self.least is not None:
            goal = f"   at least {self.least:g}{'' if self.value >= self.least else ': MISSED'}"
        return f"{self.name:<58} {self.value:>10.4g} {self.unit:<9}{goal}".rstrip()


@dataclass(frozen=True)
class Curve:
    """The cost of something at several sizes."""

    name: str  # of the quantity that grows
    sizes: str  # unit of the sizes
    costs: str  # unit of the costs
    lines: dict[str, list[tuple[float, float]]]  # pairs of size and cost, by the name of the line

    def __str__(self) -> str:
        rows = [f"over {self.name}, {self.costs}:"]
        rows += [f"  {name}: " + ", ".join(f"{x:g}: {y:.3g}" for x, y in line) for name, line in self.lines.items()]
        return "\n  ".join(rows)


def run(parts: list[str], size: int, out: Path) -> dict[str, list[Figure | Curve]]:
    """Measure some of `PARTS` and write ``bench.json``, in which the other parts keep their figures.

    Each curve is drawn to ``PART_CURVE.png`` beside that file.

    Args:
        parts: names in `PARTS`. Their figures in the unit "ratio" are also listed under ``ratios``.
        size: amount of work for each part, in its own unit (conversion: slices; layers: one round per two thousand).
        out: the JSON file.

    Returns:
        Figures and curves by part.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    measured: dict[str, list[Figure | Curve]] = {}
    for part in parts:
        with tempfile.TemporaryDirectory(prefix=f".{part}.", dir=out.parent) as folder:
            measure = getattr(importlib.import_module(f"nbcad.bench.{part}"), PARTS[part])
            measured[part] = measure(Path(folder), size)
    known = json.loads(out.read_text()) if out.is_file() else {}
    for part, found in measured.items():
        figures = [result for result in found if isinstance(result, Figure)]
        curves = [result for result in found if isinstance(result, Curve)]
        ratios = {figure.name: figure.value for figure in figures if figure.unit == "ratio"}
        known["ratios"] = known.get("ratios", {}) | ratios
        known[part] = {"machine": machine.describe(), "size": size, "figures": [asdict(figure) for figure in figures]}
        known[part]["curves"] = [asdict(curve) for curve in curves]
        for curve in curves:
            draw(curve, out.with_name(f"{part}_{curve.name}.png"))
    with replacing_file(out) as temporary:
        temporary.write_text(json.dumps(known, indent=2) + "\n")
    return measured


def draw(curve: Curve, path: Path) -> None:
    """Draw a curve to a PNG.

    Costs that differ less than tenfold get a linear axis from 0, on which a small rise looks small; others get a
    logarithmic one.
    """
    from matplotlib.figure import Figure as Canvas  # here, as it takes longer to import than all else

    canvas = Canvas(figsize=(6, 4), layout="constrained")
    axes = canvas.subplots()
    for name, line in curve.lines.items():
        axes.plot(*zip(*line, strict=True), marker=".", label=name)
    points = [point for line in curve.lines.values() for point in line]
    sizes, costs = sorted({size for size, _ in points}), [cost for _, cost in points]
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    axes.minorticks_off()
    if max(costs) < 10 * min(costs):
        axes.set_ylim(0, 1.1 * max(costs))
    else:
        axes.set_yscale("log")
    axes.set(xlabel=curve.sizes, ylabel=curve.costs)
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing_file(path) as temporary:
        canvas.savefig(temporary, dpi=110, format="png")
