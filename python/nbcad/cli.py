"""What all tools share: exit codes, argument types, progress, and writing of output in one piece."""

import argparse
import ctypes
import errno
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tqdm import tqdm

from nbcad.errors import InputError, NbcadError, OutputExistsError

DONE = 0
FAILED = 1
USAGE = 2
PARTLY_REFUSED = 3
INTERRUPTED = 130

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a full disk, quota or file system says
LANGUAGES = ("en", "zh")  # of the report's pages; the first is that of the sources


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


def progress(
    items: Iterable | None = None, *, desc: str, unit: str, total: int | None = None, initial: int = 0
) -> tqdm:
    """A progress bar with count, rate and ETA on stderr; on a stream that is no terminal one line every 10 s."""
    terminal = {"file": sys.stderr, "dynamic_ncols": True}
    lines = {"file": _Lines(), "mininterval": 10, "ascii": True, "ncols": 100}
    look = terminal if sys.stderr.isatty() else lines
    return tqdm(items, desc=desc, unit=unit, total=total, initial=initial, **look)


class _Lines:
    """Stderr for a progress bar that shall not overwrite itself: each state a line."""

    def write(self, text: str) -> None:
        state = text.strip("\r\n ")
        if state:
            sys.stderr.write(state + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def existing(path: str | Path, what: str, remedy: str = "") -> Path:
    """Return ``path`` if something stands there.

    Raises:
        InputError: nothing stands there; the message names ``what`` and the ``remedy``.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{what} {path} does not exist" + (f"; {remedy}" if remedy else ""))
    return path


def refuse_existing(path: Path, force: bool) -> None:
    """Raise `OutputExistsError` if ``path`` exists and ``force`` is false."""
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists already; give --force to replace it")


def secret_key(path: Path) -> bytes:
    """32 secret bytes, made on first use and readable by their owner only.

    Raises:
        InputError: the file holds something else.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    key = path.read_bytes()
    if len(key) != 32:
        raise InputError(f"key {path} has {len(key)} bytes, not 32; give another or let it be made")
    return key


@contextmanager
def telling_no_space(error: type[NbcadError], where: Path, remedy: str) -> Iterator[None]:
    """Raise ``error``, which says what to do, in place of what a full disk makes Python raise while writing there."""
    try:
        yield
    except OSError as failure:
        if failure.errno not in _NO_SPACE:
            raise
        raise error(f"no space for {where}: {failure.strerror}; {remedy}") from failure


@contextmanager
def replacing_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; on success it is renamed to ``path``, on failure removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; on success it takes ``path``'s place, on failure it goes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    finish_replacing(path)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        take_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def take_place(folder: Path, path: Path) -> None:
    """Give a complete folder the name ``path``; what stood there has the folder's old name afterwards, or is gone.

    The names are exchanged in one step, so that at any moment the old or the new stands at ``path``. Where the file
    system cannot (NFS), a process killed between two renames leaves nothing there until `finish_replacing`.
    """
    if not path.exists():
        folder.rename(path)
    elif not _exchange(folder, path):
        old = _set_aside(path)
        path.rename(old)
        folder.rename(path)
        shutil.rmtree(old)


def finish_replacing(path: Path) -> None:
    """Put back, or remove, what a process killed within `take_place` left beside ``path``."""
    old = _set_aside(path)
    if old.exists() and path.exists():
        shutil.rmtree(old)
    elif old.exists():
        old.rename(path)


def _set_aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names by renameat2(2); false where the file system cannot."""
    at_working_directory, rename_exchange = -100, 2
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(at_working_directory, names[0], at_working_directory, names[1], rename_exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))
