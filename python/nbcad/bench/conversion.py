"""Benchmark of the conversion to LMDB, beside its least possible cost: decoding and preprocessing the same slices."""

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


def measure_conversion(folder: Path, size: int) -> list[Figure]:
    """Convert ``size`` slices: those of a small phantom, repeated.

    Args:
        folder: empty, for all output.
        size: number of slices.

    Returns:
        See `measure_conversion_of`.
    """
    phantom.generate(folder / "phantom", PATIENTS, seed=1, workers=os.cpu_count())
    build.build(folder / "phantom" / "dicom", [folder / "phantom" / "annotations.csv"], folder / "one.sqlite")
    return measure_conversion_of(folder / "one.sqlite", folder, size)


def measure_conversion_of(sample_database: Path, folder: Path, size: int) -> list[Figure]:
    """Convert the slices of a sample database, repeated until there are enough.

    Args:
        sample_database: the database.
        folder: for all output.
        size: least number of slices to convert.

    Returns:
        Processor time relative to `least_cost`, slices a second, and memory.
    """
    slices = write_repeated(sample_database, folder / "many.sqlite", size)
    everywhere = [sample_database] * (os.cpu_count() or 1)
    # The least cost is measured with as many processes as the tool has, as cores that share caches slow each other
    # down; and both before and after the tool, as the load of the machine may change. The processes are spawned: a
    # forked one would wait forever for OpenCV's threads, which do not survive a fork.
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
    """Return the processor seconds a slice for pydicom's decoding and `conversion.sample_images` alone."""
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
    """Return processor and wall-clock seconds of `nbcad make-lmdb` with its workers, and their peak memory in bytes."""
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
    """A thread that watches the memory of a process and its children, counting shared pages once."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.peak, self.ended = pid, 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.2):
            self.peak = max(self.peak, sum(map(_memory, [self.pid, *_children(self.pid)])))


def _children(pid: int) -> list[int]:
    """Return the process ids of a process's children."""
    try:
        return [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in _read(task / "children").split()]
    except FileNotFoundError:
        return []


def _memory(pid: int) -> int:
    """Return the proportional set size of a process in bytes; 0 if it has ended."""
    lines = _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def _read(path: Path) -> str:
    """Return the content of a file below /proc, or nothing if its process has ended."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
