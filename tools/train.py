#!/usr/bin/env python3
"""Train a Caffe solver: log, curves, snapshots and final.caffemodel end up in the run folder."""

from pathlib import Path

from nbcad import cli


def main() -> int:
    arguments = cli.parser(__doc__)
    arguments.add_argument("--solver", type=Path, required=True, help="solver prototxt")
    arguments.add_argument("--run", type=Path, required=True, help="folder of the results")
    arguments.add_argument("--max-iter", type=cli.positive_int, help="instead of the solver's max_iter")
    arguments.add_argument("--resume", action="store_true", help="go on from the newest sound snapshot")
    cli.add_device(arguments)
    cli.add_force(arguments)
    options = arguments.parse_args()

    from nbcad.training.driver import train

    result = train(options.solver, options.run, options.device, options.max_iter, options.resume, options.force)
    if result.signal:
        print(f"stopped at iteration {result.iteration}; go on with --resume")
        return 128 + result.signal
    last = result.log[-1]
    accuracy = f", accuracy {last.test_accuracy:.3f}" if last.test_accuracy is not None else ""
    print(f"{result.weights}: iteration {result.iteration}, loss {last.train_loss:.4f}{accuracy}")
    return cli.DONE


if __name__ == "__main__":
    cli.run(main)
