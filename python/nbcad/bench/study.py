"""Benchmark of a study from DICOM to report, by `nbcad infer` in a fresh process, beside `plain_loop`."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from nbcad.bench import Curve, Figure, child
from nbcad.datasets import phantom
from nbcad.datasets.phantom.acquisition import acquire, plan
from nbcad.datasets.phantom.patients import Purpose, list_patients
from nbcad.datasets.phantom.physics import Tissues
from nbcad.datasets.phantom.scanners import SCANNERS, protocols
from nbcad.dicom import read_archive, read_pixels
from nbcad.errors import InputError
from nbcad.imaging.preprocess import enhance
from nbcad.inference import heat, organ
from nbcad.inference.models import Models, load_models
from nbcad.report import JSON
from nbcad.report.types import Report
from nbcad.runtime.json_file import read_json
from nbcad.runtime.paths import RUNS

SLICES, MATRIX = 200, 320
FEWER = (25, 50, 100)  # slices of smaller studies
SLICES_A_ROUND = 7000  # ``size`` divided by this is the number of rounds
LEAST_ROUNDS = 3
MODELS, STAGER = RUNS, RUNS / "beyond_paper" / "stage"  # from `make demo`
PLAIN_LOOP = Path(__file__).with_name("plain_loop.py")
# The start of `nbcad infer`: its imports and models.
START = """
import gc
gc.disable()
from pathlib import Path
from nbcad import infer, report
from nbcad.inference.models import load_models
gc.freeze()
gc.enable()
load_models(Path({models!r}), "cpu", Path({stager!r}))
"""
SECONDS, MEMORY_GIB, OVERHEAD, FASTER = 10.0, 1.0, 2.0, 1.0


@dataclass(frozen=True)
class _Round:
    """The costs of one round, in which every way has its turn."""

    infer: child.Cost
    plain: child.Cost
    start: child.Cost
    least_s: float


def measure_study(folder: Path, size: int, models: Path = MODELS, stager: Path = STAGER) -> list[Figure | Curve]:
    """Analyse one study repeatedly, by `nbcad infer` and by the plain loop in turn.

    Args:
        folder: empty, for the study and the reports.
        size: one round per `SLICES_A_ROUND`.
        models: folder of the trained models.
        stager: folder of the stager to use with them.

    Returns:
        Seconds, memory, and the plain loop's time relative to ours; all are medians over the rounds.

    Raises:
        ModelError: the models are not trained; the message says how to make them.
    """
    dicom = write_study(folder / "dicom", SLICES)
    loaded = load_models(models, "cpu", stager)
    report = folder / "report"
    infer: child.Command = [
        *child.NBCAD, "infer", dicom, "--out", report, "--force", "--models", models, "--stage", stager,
    ]  # fmt: skip
    answers = folder / "plain.json"
    plain: child.Command = [sys.executable, PLAIN_LOOP, dicom, models / "organ", stager, answers]
    start = [sys.executable, "-c", START.format(models=str(models), stager=str(stager))]
    rounds = [
        _Round(
            infer=child.run(infer),
            plain=child.run(plain, NBCAD_CAFFE_LAYERS="stock"),
            start=child.run(start),
            least_s=least_s(dicom, loaded),
        )
        for _ in range(max(LEAST_ROUNDS, size // SLICES_A_ROUND))
    ]
    same, difference = agreement(read_json(report / JSON, Report, InputError), json.loads(answers.read_text()))
    return [
        Figure("slices", SLICES, ""),
        *_costs(rounds),
        Figure("slices of the same region in both", same, "", least=0.99 * SLICES),
        Figure("largest difference of a tumour probability", difference, "", 1e-3),
        Figure(
            "infer_study_vs_plain_loop", median(r.plain.wall_s / r.infer.wall_s for r in rounds), "ratio", least=FASTER
        ),
        over_slices(folder, infer, dicom, median(r.infer.wall_s for r in rounds)),
        over_threads(infer),
    ]


def _costs(rounds: list[_Round]) -> list[Figure]:
    """Return the median of each cost over the rounds; of memory, the maximum."""

    def median_of(cost: Callable[[_Round], float]) -> float:
        return median(map(cost, rounds))

    overhead = median_of(lambda r: (r.infer.wall_s - r.start.wall_s) / r.least_s)
    return [
        Figure("study to report", median_of(lambda r: r.infer.wall_s), "s", SECONDS),
        Figure("of which start-up: imports and models", median_of(lambda r: r.start.wall_s), "s"),
        Figure("decoding, preprocessing and nets alone", median_of(lambda r: r.least_s), "s"),
        Figure("start-up excluded, relative to these three", overhead, "", OVERHEAD),
        Figure("processor time", median_of(lambda r: r.infer.cpu_s), "s"),
        Figure("memory, peak", max(r.infer.memory for r in rounds) / 2**30, "GiB", MEMORY_GIB),
        Figure("plain loop", median_of(lambda r: r.plain.wall_s), "s"),
        Figure("plain loop: processor time", median_of(lambda r: r.plain.cpu_s), "s"),
        Figure("plain loop: memory, peak", max(r.plain.memory for r in rounds) / 2**30, "GiB"),
    ]


def write_study(folder: Path, slices: int) -> Path:
    """Write the axial T2 of a phantom patient of stage M, with slices as thin as those of a 3D sequence.

    Columns run to left and rows to posterior, so that the plain loop need not turn the slices.

    Returns:
        ``folder``.
    """
    patient = next(p for p in list_patients(20, seed=5) if p.stage == "M")
    anatomy, scanner, rng = phantom.make_anatomy(patient), SCANNERS[patient.vendor], patient.rng(Purpose.IMAGES)
    scan = plan(anatomy, rng, slices)
    spacing = scan.spacing * scan.slices / slices
    scan = replace(
        scan,
        slices=slices,
        spacing=spacing,
        thickness=min(scan.thickness, spacing),
        transposed=False,
        flips=(False, False),
    )
    t2 = replace(protocols(scanner, rng)[0], matrix=MATRIX)
    images = acquire(anatomy, Tissues.of_patient(rng), scan, scanner, t2, rng)
    phantom.write_study(phantom.Study(patient, anatomy, scan, [(t2, images)]), folder)
    return folder


def least_s(dicom: Path, models: Models) -> float:
    """Return the seconds for decoding, preprocessing and both nets, with nothing around them."""
    (series,) = read_archive(dicom).series
    started = time.monotonic()
    slices, pixels = read_pixels(series)
    volume = enhance(pixels)
    organ.series_features(models.organ_net, models.organ_transform, volume, slices[0], models.svm.blob)
    heat.heat_maps(models.stage_fcn, models.stage_transform, slices, volume)
    return time.monotonic() - started


def agreement(report: Report, answers: list[list]) -> tuple[int, float]:
    """Compare a report with the answers of the plain loop.

    Returns:
        Number of slices with the same region in both, and the largest difference of a tumour probability.
    """
    entries = {image.sop_uid: image for image in report.studies[0].series[0].slices}
    same = sum(entries[uid].organ.label == region for uid, region, _ in answers)
    return same, max(abs(entries[uid].tumour_probability - tumour) for uid, _, tumour in answers)


def over_slices(folder: Path, infer: child.Command, dicom: Path, all_s: float) -> Curve:
    """Measure the seconds for studies that hold only the lowest slices.

    Args:
        folder: for the smaller studies.
        infer: the command for the whole study.
        dicom: folder of the whole study, as the command names it.
        all_s: seconds for the whole study.
    """
    (series,) = read_archive(dicom).series
    seconds: list[tuple[float, float]] = []
    for slices in FEWER:
        part = folder / f"dicom_{slices}"
        part.mkdir()
        for image in series.slices[:slices]:  # neighbours, so that the study has no gaps
            os.link(image.source.path, part / image.source.path.name)
        seconds.append((slices, child.run([part if word == dicom else word for word in infer]).wall_s))
    return Curve("slices", "slices", "s", {"nbcad infer": [*seconds, (SLICES, all_s)]})


def over_threads(infer: child.Command) -> Curve:
    """Measure the seconds for the study with 1, 2, 4 ... threads, up to one per core."""
    cores = len(os.sched_getaffinity(0))
    counts = [*(2**power for power in range(cores.bit_length()) if 2**power < cores), cores]
    seconds: list[tuple[float, float]] = [
        (n, child.run(infer, OMP_NUM_THREADS=str(n), OPENBLAS_NUM_THREADS=str(n)).wall_s) for n in counts
    ]
    return Curve("threads", "threads", "s", {"nbcad infer": seconds})
