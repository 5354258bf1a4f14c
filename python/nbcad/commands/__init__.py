"""The steps of the flow as commands: a module a step, which imports what is heavy only when it runs."""

import argparse
import importlib
from collections.abc import Mapping
from typing import Any, Protocol, cast

# In the order of the flow. A step's module has its name, with underscores.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "data": ("make-phantom", "convert-sppin", "deidentify", "make-database", "audit-database", "make-lmdb"),
    "training": ("train", "fit-organ-svm", "choose-operating-point", "mine-hard-negatives", "train-baseline"),
    "evaluation": ("evaluate",),
    "use": ("infer", "serve"),
    "experiments": ("paper-diff", "parity", "reproduce", "ablation", "bench"),
}
STEPS = tuple(name for names in GROUPS.values() for name in names)


class Step(Protocol):
    """A module of this package: one step as a command. Its docstring is the description in ``--help``."""

    __doc__: str | None
    HELP: str  # one line, for the list of all steps
    EXAMPLES: tuple[str, ...]  # command lines

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the step's own arguments.

        Args:
            parser: to which they are added.
        """

    def run(self, options: argparse.Namespace) -> int | None:
        """Do the step.

        Args:
            options: as parsed.

        Returns:
            Its exit code; None: done.

        Raises:
            UsageError: the options do not go together.
        """


def load(name: str) -> Step:
    """Return a step by its name, one of `STEPS`."""
    module: Any = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    return cast(Step, module)
