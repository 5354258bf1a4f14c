"""Output that appears as a whole or not at all, and files that only their owner can read."""

import ctypes
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nbcad.errors import InputError, NbcadError, OutputExistsError
from nbcad.language.message import Message, message

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a full disk, quota or file system says


def existing(path: str | Path, what: str, remedy: str = "") -> Path:
    """Return ``path`` if it exists.

    Args:
        path: file or folder.
        what: the noun for it in the message.
        remedy: what the user can do, for the message.

    Raises:
        InputError: it does not exist.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{what} {path} does not exist" + (f"; {remedy}" if remedy else ""))
    return path


def refuse_existing(path: Path, force: bool) -> None:
    """Raise `OutputExistsError` if ``path`` exists and ``force`` is false."""
    if path.exists() and not force:
        raise OutputExistsError(message("{path} exists already; give --force to replace it", path=str(path)))


def secret_key(path: Path) -> bytes:
    """Return 32 secret bytes from a file, created on first use and readable by its owner only.

    Raises:
        InputError: the file holds something else.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
    key = path.read_bytes()
    if len(key) != 32:
        raise InputError(f"key {path} has {len(key)} bytes, not 32; name another file, or a new one to create a key")
    return key


@contextmanager
def telling_no_space(error: type[NbcadError], where: Path, remedy: str | Message) -> Iterator[None]:
    """Turn the OSError of a full disk into ``error``, whose message names the place and the remedy."""
    try:
        yield
    except OSError as failure:
        if failure.errno not in _NO_SPACE:
            raise
        reason = message(
            "no space for {path}: {error}; {remedy}", path=str(where), error=str(failure.strerror), remedy=remedy
        )
        raise error(reason) from failure


@contextmanager
def replacing_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``, renamed to ``path`` on success and removed on failure."""
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
    """Yield an empty temporary folder beside ``path``, which replaces ``path`` on success and is removed on failure."""
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
    """Give a complete folder the name ``path``; the folder it replaces takes the other name, or is removed.

    The two names are exchanged in one step, so that ``path`` is the old or the new folder at any moment. Where the file
    system cannot do that (NFS), a process killed between two renames leaves no ``path`` until `finish_replacing`.
    """
    if not path.exists():
        folder.rename(path)
    elif not exchange(folder, path):
        old = _set_aside(path)
        path.rename(old)
        folder.rename(path)
        shutil.rmtree(old)


def finish_replacing(path: Path) -> None:
    """Restore or remove the folder that a process killed within `take_place` left beside ``path``."""
    old = _set_aside(path)
    if old.exists() and path.exists():
        shutil.rmtree(old)
    elif old.exists():
        old.rename(path)


def _set_aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names by renameat2(2); return false where the file system cannot."""
    at_working_directory, rename_exchange = -100, 2
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(at_working_directory, names[0], at_working_directory, names[1], rename_exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))
