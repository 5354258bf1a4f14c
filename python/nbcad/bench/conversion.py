"""Conversion to LMDB beside the least that it could cost: decoding the same files and preprocessing their slices."""

import os
import subprocess
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean

import cv2
import numpy as np
import pydicom

from nbcad import cli
from nbcad.bench import Figure
from nbcad.bench.child import NBCAD, Command
from nbcad.datasets import phantom
from nbcad.errors import NbcadError
from nbcad.nets.caffe_net import input_size
from nbcad.samples import build, conversion
from nbcad.samples.database import SampleDatabase
from nbcad.samples.database_writer import write_repeated
from nbcad.samples.images import load_series

PATIENTS = 6
PASSES = 5
MEMORY_GIB = 1.0
RATIO = 1.3


def measure(folder: Path, size: int) -> list[Figure]:
    """Convert ``size`` slices: those of a small phantom, again and again.

    Args:
        folder: an empty one for all that is made.
        size: number of slices.

    Returns:
        See `measure_database`.
    """
    phantom.generate(folder / "phantom", PATIENTS, seed=1, workers=os.cpu_count())
    build.build(folder / "phantom" / "dicom", [folder / "phantom" / "annotations.csv"], folder / "one.sqlite")
    return measure_database(folder / "one.sqlite", folder, size)


def measure_database(one: Path, folder: Path, size: int) -> list[Figure]:
    """Convert the slices of a sample database again and again.

    Args:
        one: the database.
        folder: where all is written to.
        size: least number of slices to convert.

    Returns:
        Processor time against `least_cost`, slices a second, and memory.
    """
    slices = write_repeated(one, folder / "many.sqlite", size)
    everywhere = [one] * (os.cpu_count() or 1)
    # As many processes as the tool has, as cores that share caches are slower together; and before and after it, as
    # what else runs on the machine may change.
    # Not forked: OpenCV's threads do not live on in a forked process, which would wait for them.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        before = list(pool.map(least_cost, everywhere))
        cpu_s, wall_s, memory = _run_tool(folder)
        least = mean([*before, *pool.map(least_cost, everywhere)])
    return [
        Figure("slices converted", slices, ""),
        Figure("slices a second, all cores", slices / wall_s, "1/s"),
        Figure("processor time a slice", 1e3 * cpu_s / slices, "ms"),
        Figure("processor time a slice, decoding and preprocessing alone", 1e3 * least, "ms"),
        Figure("ratio of the two", cpu_s / slices / least, "", RATIO),
        Figure("memory of all processes, peak", memory / 2**30, "GiB", MEMORY_GIB),
    ]


def least_cost(sample_database: Path) -> float:
    """Processor seconds a slice for pydicom's decoding and `conversion.sample_images`, with nothing round them."""
    cv2.setNumThreads(1)
    organ_size = input_size(conversion.ORGAN_DEPLOY)
    with SampleDatabase.open(sample_database) as database:
        all_series = []
        for number in database.series_numbers():
            series, numbers = load_series(database, number)
            all_series.append((dict(zip(numbers, series.slices, strict=True)), database.samples_of(number)))
    started = time.process_time()
    for _ in range(PASSES):
        for slices, samples in all_series:
            images = [pydicom.dcmread(image.source.path).pixel_array for image in slices.values()]
            volume = np.stack(images).astype(np.float32)
            for _ in conversion.sample_images(samples, slices, volume, False, organ_size):
                pass
    return (time.process_time() - started) / PASSES / sum(len(slices) for slices, _ in all_series)


def _run_tool(folder: Path) -> tuple[float, float, int]:
    """Processor and wall-clock seconds of `nbcad make-lmdb` with its workers, and their largest memory in bytes."""
    many, out = folder / "many.sqlite", folder / "lmdb"
    command: Command = [*NBCAD, "make-lmdb", "--database", many, "--out", out]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    memory = _Memory(process.pid)
    memory.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - started
    memory.ended.set()
    memory.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != cli.DONE:
        raise NbcadError(f"nbcad make-lmdb ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, wall_s, memory.peak


class _Memory(threading.Thread):
    """Watches the memory of a process and its children; pages that they share count once."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.peak, self.ended = pid, 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.2):
            self.peak = max(self.peak, sum(map(_memory, [self.pid, *_children(self.pid)])))


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in _read(task / "children").split()]
    except FileNotFoundError:
        return []


def _memory(pid: int) -> int:
    """Proportional set size in bytes; 0 for a process that has ended."""
    lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
