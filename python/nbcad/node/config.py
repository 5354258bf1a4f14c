"""The node's settings: a TOML file (`config/node.toml` has every key), checked strictly."""

import re
import tomllib
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from nbcad.errors import InputError
from nbcad.language import LANGUAGES
from nbcad.runtime import paths

_PATH = {"path": True}  # relative to the repository's root
_TITLE = re.compile(r"(?! )[ -\[\]-~]{1,16}(?<! )")  # PS3.5 6.2, AE: no backslash, spaces at the ends mean nothing
_TYPES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", tuple: "a list of texts"}


@dataclass(frozen=True)
class Receive:
    """The peers that may send, and the limits on what they send."""

    bind: str = "127.0.0.1"
    port: int = field(default=11112, metadata={"range": (0, 65535)})  # 0: any free one
    ae_title: str = field(default="NBCAD", metadata={"like": _TITLE})
    senders: tuple[str, ...] = field(default=(), metadata={"like": _TITLE})
    quiet_s: float = field(default=30.0, metadata={"range": (0, 86_400)})
    max_object_mib: int = field(default=512, metadata={"range": (1, 2048)})
    max_associations: int = field(default=10, metadata={"range": (1, 1000)})
    max_objects_per_s: float = field(default=500.0, metadata={"range": (0.1, 1e6)})
    timeout_s: float = field(default=30.0, metadata={"range": (1, 3600)})
    reserve_mib: int = field(default=1024, metadata={"range": (0, 1 << 30)})


@dataclass(frozen=True)
class Tls:
    """Files in PEM; with a certificate the node receives by TLS only."""

    certificate: str = field(default="", metadata=_PATH)
    key: str = field(default="", metadata=_PATH)
    ca: str = field(default="", metadata=_PATH)


@dataclass(frozen=True)
class Analyse:
    """The models of the analysis, and its limits."""

    models: str = field(default="runs", metadata=_PATH)
    stage: str = field(default="", metadata=_PATH)
    device: str = field(default="cpu", metadata={"like": re.compile(r"cpu|cuda:\d+")})
    lang: str = field(default=LANGUAGES[0], metadata={"like": re.compile("|".join(LANGUAGES))})
    timeout_s: float = field(default=900.0, metadata={"range": (1, 86_400)})
    memory_gib: float = field(default=4.0, metadata={"range": (0.1, 1024)})


@dataclass(frozen=True)
class Send:
    """The destination of the results; none without a host."""

    host: str = ""
    port: int = field(default=104, metadata={"range": (1, 65535)})
    ae_title: str = field(default="ARCHIVE", metadata={"like": _TITLE})
    tls: bool = False
    retry_s: float = field(default=10.0, metadata={"range": (0.1, 3600)})
    give_up_h: float = field(default=72.0, metadata={"range": (0, 8760)})


@dataclass(frozen=True)
class Pages:
    """The address of the work list for browsers; none without an address."""

    bind: str = "127.0.0.1"
    port: int = field(default=8080, metadata={"range": (0, 65535)})  # 0: any free one


@dataclass(frozen=True)
class Config:
    """All settings; what they mean stands in `config/node.toml`."""

    folder: str = field(default="runs/node", metadata=_PATH)
    keep_days: float = field(default=30.0, metadata={"range": (0, 36_500)})
    receive: Receive = Receive()
    tls: Tls = Tls()
    analyse: Analyse = Analyse()
    send: Send = Send()
    pages: Pages = Pages()


def read_config(path: str | Path, options: dict[str, Any] | None = None) -> Config:
    """Read the settings of a file.

    Args:
        path: of the file.
        options: tables and keys that take the place of the file's.

    Raises:
        InputError: the file is missing or malformed, or settings do not go together; the message names the key.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"settings {path} cannot be read: {error.strerror}; give --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"settings {path} are no TOML: {error}") from error
    for key, value in (options or {}).items():
        table = content.setdefault(key, {})
        if isinstance(table, dict) and isinstance(value, dict):
            table.update(value)
        elif not isinstance(value, dict):
            content[key] = value
    config = _table(Config, content, f"settings {path}")
    _check_together(config, f"settings {path}")
    return _placed(config)


def _placed(table: Any) -> Any:
    """Return settings whose relative paths lead into the repository from wherever the node was started."""
    values = {}
    for entry in fields(table):
        value = getattr(table, entry.name)
        if is_dataclass(value):
            values[entry.name] = _placed(value)
        elif "path" in entry.metadata and value and not Path(value).is_absolute():
            values[entry.name] = str(paths.from_here(paths.ROOT / value))
    return replace(table, **values)


def _table(kind: type, content: object, where: str) -> Any:
    """Return a table of settings after checking it and the tables in it."""
    if not isinstance(content, dict):
        raise InputError(f"{where} is {content!r}, not a table")
    known = {entry.name: entry for entry in fields(kind)}
    for key in content.keys() - known.keys():
        raise InputError(f"{where}: key {key!r} is not known; known are {', '.join(known)}")
    values = {}
    for key, value in content.items():
        entry = known[key]
        if hasattr(entry.default, "__dataclass_fields__"):
            values[key] = _table(type(entry.default), value, f"{where}: [{key}]")
        else:
            values[key] = _checked(value, type(entry.default), entry.metadata, f"{where}: key {key!r} is {value!r}")
    return kind(**values)


def _checked(value: Any, kind: type, bounds: Any, found: str) -> Any:
    if kind is float and type(value) is int:
        value = float(value)
    if kind is tuple and isinstance(value, list) and all(isinstance(text, str) for text in value):
        value = tuple(value)
    if type(value) is not kind:
        raise InputError(f"{found}, not {_TYPES[kind]}")
    if "range" in bounds:
        low, high = bounds["range"]
        if not low <= value <= high:
            raise InputError(f"{found}, not from {low:g} to {high:g}")
    if "like" in bounds:
        for text in value if isinstance(value, tuple) else [value]:
            if not bounds["like"].fullmatch(text):
                raise InputError(f"{found}; {text!r} is none of its kind ({bounds['like'].pattern})")
    return value


def _check_together(config: Config, where: str) -> None:
    if not config.receive.senders:
        raise InputError(f"{where}: key 'senders' of [receive] is empty; name the AE titles that may send, or --sender")
    if bool(config.tls.certificate) != bool(config.tls.key):
        raise InputError(f"{where}: [tls] needs both a certificate and its key")
    if config.send.tls and not config.tls.ca:
        raise InputError(f"{where}: tls of [send] needs ca of [tls], by which the archive is known")
