"""Arguments and exit codes, the same for every step."""

import argparse
import os
import re
import signal
import sys
import urllib.parse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nbcad.errors import NbcadError
from nbcad.language import LANGUAGES
from nbcad.runtime import paths, verbosity

DONE = 0
FAILED = 1
USAGE = 2
PARTLY_REFUSED = 3
INTERRUPTED = 130
EXIT_CODES = (
    "exit codes: 0 done; 1 failed, or not as it should be; 2 wrong usage; 3 done, but part of the input was refused; "
    "130 interrupted by Ctrl-C; 143 ended by SIGTERM"
)


class UsageError(Exception):
    """Options that do not go together; the step ends with its usage, the message and exit code 2."""


def run(main: Callable[[], int | None], name: str | None = None) -> None:
    """Call a step's ``main`` and leave with its exit code.

    What is half written when Ctrl-C, SIGTERM or SIGHUP comes is removed first. An `NbcadError` or an `OSError` becomes
    one line on stderr and exit code 1, as does a missing Caffe. Anything else is a defect of this package and keeps its
    traceback.

    Args:
        main: what to do.
        name: of the command, for messages; None: that of the program.
    """
    name = name or Path(sys.argv[0]).name
    _raise_when_ended()
    try:
        code = main()
    except (NbcadError, OSError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        code = FAILED
    except ModuleNotFoundError as error:
        if error.name != "caffe":
            raise
        print(f"{name}: error: {error} in {paths.ROOT}", file=sys.stderr)
        code = FAILED
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        code = INTERRUPTED
    except _Ended as ended:
        (number,) = ended.args
        print(f"{name}: ended by {signal.Signals(number).name}", file=sys.stderr)
        code = 128 + number
    sys.exit(code or DONE)


class _Ended(BaseException):
    """The end by a signal, whose number is the argument."""


def _raise_when_ended() -> None:
    """Have SIGTERM and SIGHUP raise `_Ended` in this process, and end those that it forks."""

    def end(number: int, _: object) -> None:
        raise _Ended(number)

    def end_at_once() -> None:
        for ending in endings:
            signal.signal(ending, signal.SIG_DFL)
        unblock()

    # nohup's SIGHUP stays without effect.
    endings = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for ending in endings:
        signal.signal(ending, end)
    block, unblock = (partial(signal.pthread_sigmask, how, endings) for how in (signal.SIG_BLOCK, signal.SIG_UNBLOCK))
    # Blocked while it forks: of what comes to a child before this, Python forgets that it came.
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=end_at_once)


class Help(argparse.HelpFormatter):
    """The layout of ``--help``: each default that says something, and indented lines as they are."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        if action.required or action.default in (None, False, argparse.SUPPRESS, "", [], ()) or "(default" in text:
            return text
        return f"{text} (default: {_shown(action.default).replace('%', '%%')})"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n".join(line if line[:1] in ("", " ") else fill(line, width, indent) for line in text.split("\n"))


def _shown(default: Any) -> str:
    """Return a default as the help names it; a path of the repository is the same wherever the user stands."""
    if isinstance(default, Path):
        named = paths.from_root(default)
        return f"{named} of the repository" if named != str(default.absolute()) else named
    if isinstance(default, list | tuple):
        return " ".join(map(_shown, default))
    return str(default)


def describe(parser: argparse.ArgumentParser, description: str, examples: Sequence[str]) -> None:
    """Give a step's parser what surrounds the options in ``--help``, and the options that all steps have."""
    parser.formatter_class = Help
    parser.description = " ".join(description.split())
    parser.epilog = "\n".join(["examples:", *(f"  {example}" for example in examples), "", EXIT_CODES])
    add_verbosity(parser)


def add_verbosity(parser: argparse.ArgumentParser) -> None:
    """Add ``--verbose`` and ``--quiet``, which leave the parser's default where neither is given."""
    how_much = parser.add_mutually_exclusive_group()
    for short, level, text in (
        ("-v", verbosity.VERBOSE, "say more on stderr: Caffe's log, time and memory, why a file is not used"),
        ("-q", verbosity.QUIET, "say nothing but errors, refusals, and answers that no file holds"),
    ):
        how_much.add_argument(
            short, f"--{level}", action="store_const", const=level, dest="verbosity", default=argparse.SUPPRESS,
            help=text,
        )  # fmt: skip


def device(text: str) -> str:
    """Parse a device: ``cpu`` or ``cuda:N``."""
    if not re.fullmatch(r"cpu|cuda:\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'cpu' nor 'cuda:N'")
    return text


def positive_int(text: str) -> int:
    """Parse an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def uid(text: str) -> str:
    """Parse a DICOM UID."""
    if len(text) > 64 or not re.fullmatch(r"\d+(\.\d+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no UID: digits and dots, at most 64")
    return text


def service_url(text: str) -> str:
    """Parse the root of a web service, without a user: everybody can read a command line."""
    try:
        parts = urllib.parse.urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise argparse.ArgumentTypeError("this is no address like https://pacs.hospital/dicom-web")
    if "@" in parts.netloc:
        raise argparse.ArgumentTypeError("an address with a user shows the password to all; set it in the environment")
    return text.rstrip("/")


def add_database(arguments: argparse.ArgumentParser, what: str = "the sample database") -> None:
    """Add ``--database``."""
    default = paths.from_here(paths.DATA / "samples.sqlite")
    arguments.add_argument("--database", type=Path, default=default, help=what)


def add_lmdb(arguments: argparse.ArgumentParser, what: str = "folder of the LMDBs") -> None:
    """Add ``--lmdb``."""
    arguments.add_argument("--lmdb", type=Path, default=paths.from_here(paths.DATA / "lmdb"), help=what)


def add_models(arguments: argparse.ArgumentParser) -> None:
    """Add ``--models`` and ``--stage``."""
    default = paths.from_here(paths.RUNS)
    arguments.add_argument("--models", type=Path, default=default, help="folder of the trained models")
    arguments.add_argument("--stage", type=Path, metavar="DIR", help="folder of another stager than MODELS/stage")


def add_device(arguments: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    arguments.add_argument("--device", type=device, default="cpu", help="cpu or cuda:N")


def dask(text: str) -> str:
    """Parse the address of a Dask scheduler, or ``local:N``."""
    if not re.fullmatch(r"local:[1-9]\d*|(?!local:)(tcp://|tls://)?[^/\s]+:\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a scheduler's HOST:PORT nor local:N")
    return text


def add_dask(arguments: argparse.ArgumentParser) -> None:
    """Add ``--dask``."""
    arguments.add_argument(
        "--dask", type=dask, metavar="ADDRESS", help="work on the cluster of this Dask scheduler, or on local:N workers"
    )


def add_language(arguments: argparse.ArgumentParser) -> None:
    """Add ``--lang``."""
    arguments.add_argument("--lang", choices=LANGUAGES, default=LANGUAGES[0], help="language of the report's pages")


def add_force(arguments: argparse.ArgumentParser) -> None:
    """Add ``--force``."""
    arguments.add_argument("--force", action="store_true", help="overwrite existing output")
