"""The command ``nbcad STEP ...``, and the same steps as scripts of their own (`tools/`)."""

import argparse
import difflib
import os
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from nbcad import cli
from nbcad.commands import GROUPS, STEPS, load
from nbcad.runtime import verbosity

_DESCRIPTION = (
    "Find, place and stage neuroblastoma in children's MR, from DICOM to a report; train and measure the nets for it. "
    "Research use only, not for clinical diagnosis."
)
_REGISTER = "register-python-argcomplete"  # of argcomplete, beside the interpreter
_USAGE = "nbcad [-h] [--version] [-v | -q] STEP ..."
_COMPLETING = "_ARGCOMPLETE"  # environment variable, by which a shell asks for completions


def main(words: Sequence[str] | None = None) -> None:
    """Run the step that the command line names, and leave with its exit code.

    Args:
        words: the command line without the program's name; None: that of this process.
    """
    words = list(sys.argv[1:] if words is None else words)
    place = next((place for place, word in enumerate(words) if not word.startswith("-")), None)
    named: Iterable[str] = STEPS
    if place is not None and _COMPLETING not in os.environ:
        words[place] = words[place].replace("_", "-")
        named = (words[place],) if words[place] in STEPS else ()
    parser = build_parser(named)
    if _COMPLETING in os.environ:
        import argcomplete

        argcomplete.autocomplete(parser)
    if place is not None and not named:
        parser.error(_unknown(words[place]))
    options = parser.parse_args(words)
    if options.version:
        from nbcad import about

        cli.run(about.tell, parser.prog)
    if options.step is None:
        parser.error("which step? nbcad --help lists them")
    _run(options.step, options.parser, options)


def run_tool(name: str) -> None:
    """Run one step as a program of its own, and leave with its exit code."""
    parser = argparse.ArgumentParser()
    _fill(parser, name)
    _run(name, parser, parser.parse_args())


class _Command(argparse.ArgumentParser):
    """The parser of the whole command, which looks into all steps only when its help is asked for."""

    def format_help(self) -> str:
        """Return the help with all steps."""
        self.epilog = "\n".join(_epilog())
        return super().format_help()


def build_parser(names: Iterable[str]) -> argparse.ArgumentParser:
    """Return the parser of the whole command, with some of the steps."""
    parser = _Command("nbcad", _USAGE, description=_DESCRIPTION, formatter_class=cli.Help)
    parser.add_argument(
        "--version", action="store_true", help="say which nbcad, Python and Caffe this is, and which models are trained"
    )
    parser.set_defaults(verbosity=None)
    cli.add_verbosity(parser)
    steps = parser.add_subparsers(
        dest="step", metavar="STEP", prog="nbcad", help=argparse.SUPPRESS, parser_class=argparse.ArgumentParser
    )
    for name in names:
        step = steps.add_parser(name)
        _fill(step, name)
        step.set_defaults(parser=step)
    return parser


def _fill(parser: argparse.ArgumentParser, name: str) -> None:
    """Give a step's parser its arguments and texts."""
    step = load(name)
    step.add_arguments(parser)
    cli.describe(parser, step.__doc__ or step.HELP, step.EXAMPLES)


def _epilog() -> Iterable[str]:
    """Yield the lines that list all steps, and what else goes for them."""
    for group, names in GROUPS.items():
        yield f"{group}:"
        yield from (f"  {name:<23} {load(name).HELP}" for name in names)
    yield ""
    yield "nbcad STEP --help explains a step; an underscore in its name is as good as a hyphen."
    yield "completion with TAB, by a line in the start-up file of bash or zsh:"
    yield f'  eval "$({Path(sys.executable).with_name(_REGISTER)} nbcad)"'
    yield cli.EXIT_CODES


def _unknown(word: str) -> str:
    near = difflib.get_close_matches(word, STEPS, cutoff=0.5)
    return f"there is no step {word!r}; " + (f"is it {' or '.join(near)}?" if near else "nbcad --help lists them")


def _run(name: str, parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    verbosity.choose(getattr(options, "verbosity", None))
    try:
        cli.run(partial(_timed, name, options), parser.prog)
    except cli.UsageError as error:
        parser.error(str(error))


def _timed(name: str, options: argparse.Namespace) -> int | None:
    """Do a step, and say what it took if details are wanted."""
    started = time.monotonic()
    try:
        return load(name).run(options)
    finally:
        usage = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu_s = sum(one.ru_utime + one.ru_stime for one in usage)
        memory_mib = max(one.ru_maxrss for one in usage) >> 10
        verbosity.detail(
            f"{name}: {time.monotonic() - started:.1f} s, of all processors {cpu_s:.1f} s; "
            f"at most {memory_mib} MiB of memory in one process"
        )


if __name__ == "__main__":
    main()
