"""Steps of a solver with the fast layers, each beside a step of Caffe's own layers from the same weights.

Two sums of the same products differ in the last bit. Where two values of a pooling window are as close, or a ReLU's
input is as close to zero, the gradient then takes another way, and the trainings part: stock Caffe's too, from itself,
when its BLAS picks another kernel. No bound on the distance of two trainings holds on every processor. So the rounding
noise is measured where the test runs: stock Caffe takes each step from the fast solver's weights, and again from the
same weights with their last bit changed.
"""

from collections import defaultdict

import numpy as np
import pytest

from make_solver import solver_of
from nbcad.bench.layers import chosen
from nbcad.nets.caffe_net import caffe

STEPS, RATE, MOMENTUM = 20, 0.01, 0.9  # `solver_of` gives the momentum
# A wrong layer is wrong in every step, a tie decided otherwise spoils up to a quarter of them. Measured with seven
# kernels of OpenBLAS and three instruction sets of oneDNN: 0.6 to 2.2 times the noise, which is 0.3e-6 to 2.4e-6.
STEPS_WITHOUT_TIES, TIMES_THE_NOISE, LARGEST_NOISE = 0.25, 4, 1e-5
# A tie moves a step by up to 0.07 of it, a single step without the last of its 8 images exceeds this bound.
WORST_STEP = 0.2

pytestmark = pytest.mark.usefixtures("two_threads")


class Stepping:
    """A solver with layers of one kind, and the update of its last step."""

    def __init__(self, engine: str, name: str, batch: int, folder):
        self.engine = engine
        with chosen(engine):
            self.solver = solver_of(name, batch, RATE, folder)
        self.blobs = {
            f"{layer} {i}": blob for layer, own in self.solver.net.params.items() for i, blob in enumerate(own)
        }
        self.update = dict.fromkeys(self.blobs, 0.0)

    def step(self, seed: int) -> dict[str, np.ndarray]:
        """Take a step; return the gradient and decay in its update, by blob: the update less the momentum kept."""
        caffe.set_random_seed(seed)  # for dropout
        with chosen(self.engine):
            self.solver.step(1)
        before = self.update
        self.update = {name: blob.diff.astype(float) for name, blob in self.blobs.items()}
        return {name: update - MOMENTUM * before[name] for name, update in self.update.items()}


def with_last_bit_changed(values: np.ndarray) -> np.ndarray:
    return (values.view(np.uint32) ^ 1).view(np.float32)


@pytest.mark.parametrize(("name", "batch"), [("organ", 8), ("stage", 8), ("stage", 32)])
def test_steps_differ_from_the_stock_solvers_by_rounding_noise(name, batch, tmp_path):
    fast, stock, nudged = (Stepping(engine, name, batch, tmp_path) for engine in ("fast", "stock", "stock"))
    apart, noise = defaultdict(list), defaultdict(list)
    for number in range(STEPS):
        for what, blob in fast.blobs.items():
            stock.blobs[what].data[...] = blob.data
            nudged.blobs[what].data[...] = with_last_bit_changed(blob.data)
        found, expected, other = (each.step(number) for each in (fast, stock, nudged))
        for what, values in expected.items():
            apart[what].append(np.linalg.norm(found[what] - values) / np.linalg.norm(values))
            noise[what].append(np.linalg.norm(other[what] - values) / np.linalg.norm(values))
    usual = {what: np.quantile((apart[what], noise[what]), STEPS_WITHOUT_TIES, axis=1) for what in apart}
    assert {what: both for what, both in usual.items() if not both[0] < TIMES_THE_NOISE * both[1]} == {}
    assert {what: both for what, both in usual.items() if not both[1] < LARGEST_NOISE} == {}
    assert {what: max(steps) for what, steps in apart.items() if not max(steps) < WORST_STEP} == {}


@pytest.mark.parametrize("name", ["organ", "stage"])
def test_steps_in_a_row_end_as_steps_between_which_the_weights_are_read(name, tmp_path):
    """Reading a blob brings it up to date; training must not depend on somebody who reads."""
    ends = []
    for at_once in (STEPS, 1):
        stepping = Stepping("fast", name, 8, tmp_path)
        caffe.set_random_seed(3)
        while stepping.solver.iter < STEPS:
            stepping.solver.step(at_once)
            end = b"".join(blob.data.tobytes() for blob in stepping.blobs.values())
        ends.append(end)
    assert ends[0] == ends[1]
