"""What all tools share: exit codes, argument types, progress, and writing of output in one piece."""

import argparse
import os
import re
import signal
import sys
import urllib.parse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from nbcad.errors import NbcadError
from nbcad.language import LANGUAGES

DONE = 0
FAILED = 1
USAGE = 2
PARTLY_REFUSED = 3
INTERRUPTED = 130


def run(main: Callable[[], int | None]) -> None:
    """Call a tool's ``main`` and leave with its exit code.

    What is half written when Ctrl-C, SIGTERM or SIGHUP comes is removed first. An `NbcadError` or an `OSError` becomes
    one line on stderr and exit code 1. Anything else is a defect of this package and keeps its traceback.
    """
    _raise_when_ended()
    try:
        code = main()
    except (NbcadError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        code = FAILED
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).name}: interrupted", file=sys.stderr)
        code = INTERRUPTED
    except _Ended as ended:
        (number,) = ended.args
        print(f"{Path(sys.argv[0]).name}: ended by {signal.Signals(number).name}", file=sys.stderr)
        code = 128 + number
    sys.exit(code or DONE)


class _Ended(BaseException):
    """By a signal, whose number is the argument."""


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


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser that shows every option's default in ``--help``."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)


def device(text: str) -> str:
    """Argument type: ``cpu`` or ``cuda:N``."""
    if not re.fullmatch(r"cpu|cuda:\d+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'cpu' nor 'cuda:N'")
    return text


def positive_int(text: str) -> int:
    """Argument type: an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)


def uid(text: str) -> str:
    """Argument type: a DICOM UID."""
    if len(text) > 64 or not re.fullmatch(r"\d+(\.\d+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no UID: digits and dots, at most 64")
    return text


def service_url(text: str) -> str:
    """Argument type: the root of a web service, without a user: what stands on a command line all can read."""
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


def add_device(arguments: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    arguments.add_argument("--device", type=device, default="cpu", help="cpu or cuda:N")


def dask(text: str) -> str:
    """Argument type: address of a Dask scheduler, or ``local:N``."""
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
