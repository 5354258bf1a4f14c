"""Benchmark of the stager over whole slices at once, as inference runs it, beside the same net on each window."""

from functools import partial
from pathlib import Path
from statistics import median
from timeit import timeit

import numpy as np

from nbcad.bench import Figure
from nbcad.bench.layers import take_turns
from nbcad.imaging.preprocess import STAGE_WINDOW, pad_for_windows
from nbcad.inference import heat
from nbcad.inference.lesions import STRIDE
from nbcad.nets import caffe_net
from nbcad.nets.caffe_net import caffe

GRID = (150, 200)  # of a slice of 300 mm x 400 mm
SLICES_A_ROUND = 4000  # ``size`` divided by this is the number of rounds
LEAST_ROUNDS = 3
GOAL = 20.0


def measure_placing(folder: Path, size: int) -> list[Figure]:
    """Time slices of random grey levels through an untrained net, as neither affects the cost.

    Args:
        folder: empty, for the weights.
        size: one round per `SLICES_A_ROUND`.

    Returns:
        Milliseconds a slice, and the times of the other ways relative to that of the whole slice; medians over rounds,
        in each of which every way has its turn.
    """
    weights = folder / "random.caffemodel"
    caffe.set_random_seed(1)
    net = caffe_net.load_net(heat.DEPLOY)
    net.save(str(weights))
    whole = heat.to_fully_convolutional(weights)
    grids = np.random.default_rng(1).integers(0, 256, (heat.SLICES_AT_ONCE, *GRID), dtype=np.uint8)
    padded = np.stack([pad_for_windows(grid, STRIDE) for grid in grids])
    images = caffe_net.transform_of(heat.TRAIN_VAL)(padded)[:, None]
    windows = np.lib.stride_tricks.sliding_window_view(images[:, 0], (STAGE_WINDOW, STAGE_WINDOW), axis=(1, 2))
    windows = windows[:, ::STRIDE, ::STRIDE].reshape(-1, 1, STAGE_WINDOW, STAGE_WINDOW)

    ways = {
        "whole slices": lambda: caffe_net.forward(whole, images, ["prob"]),
        "each window by itself": lambda: [caffe_net.forward(net, window[None], ["prob"]) for window in windows],
        f"windows in batches of {caffe_net.BATCH}": lambda: caffe_net.forward(net, windows, ["prob"]),
    }
    timers = {name: partial(timeit, way, number=1) for name, way in ways.items()}
    seconds = take_turns(timers, max(LEAST_ROUNDS, size // SLICES_A_ROUND))
    once, each, batched = (np.array(values) for values in seconds.values())
    return [
        Figure("windows a slice", len(windows) / len(images), ""),
        *(Figure(name, 1000 * median(values) / len(images), "ms/slice") for name, values in seconds.items()),
        Figure("placing_vs_each_window", median(each / once), "ratio", least=GOAL),
        Figure("placing_vs_batched_windows", median(batched / once), "ratio"),
    ]
