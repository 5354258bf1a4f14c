"""Train a Caffe solver: log, curves, snapshots and final.caffemodel end up in the run folder.

Paths inside the solver and its net are relative to the repository, where the stock `caffe train` finds them too.
"""

import argparse
from pathlib import Path

from nbcad import cli
from nbcad.runtime import verbosity

HELP = "train a Caffe solver: log, curves, snapshots and weights"
EXAMPLES = (
    "nbcad train --solver solvers/organ_solver.prototxt --run runs/organ",
    "nbcad train --solver my_solver.prototxt --run /tmp/run --max-iter 50 --force",
    "nbcad train --solver solvers/stage_solver.prototxt --run runs/stage --resume",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the step's own arguments."""
    parser.add_argument("--solver", type=Path, required=True, help="solver prototxt")
    parser.add_argument("--run", type=Path, required=True, help="folder of the results")
    parser.add_argument("--max-iter", type=cli.positive_int, help="instead of the solver's max_iter")
    parser.add_argument("--resume", action="store_true", help="go on from the newest sound snapshot")
    cli.add_device(parser)
    cli.add_force(parser)


def run(options: argparse.Namespace) -> int:
    """Train, and say how it ended."""
    from nbcad.training.driver import train

    result = train(options.solver, options.run, options.device, options.max_iter, options.resume, options.force)
    if result.signal:
        print(f"stopped at iteration {result.iteration}; go on with --resume")
        return 128 + result.signal
    last = result.log[-1]
    accuracy = f", accuracy {last.test_accuracy:.3f}" if last.test_accuracy is not None else ""
    verbosity.note(f"{result.weights}: iteration {result.iteration}, loss {last.train_loss:.4f}{accuracy}")
    return cli.DONE
