"""The node's log: a line of JSON an event on stderr, without patient data; a study is named by its job."""

import json
import logging
import sys
import threading
import time
import traceback
import warnings
from types import TracebackType

from pynetdicom import _config

from nbcad.runtime import verbosity

_LOGGER = logging.getLogger("nbcad.node")
_LEVELS = {
    verbosity.QUIET: logging.WARNING,
    verbosity.NORMAL: logging.INFO,
    verbosity.VERBOSE: logging.DEBUG,
}
_LIBRARIES = ("pydicom", "pynetdicom", "waitress")  # their messages quote values of headers, or paths


def info(event: str, **facts: object) -> None:
    """Log an event."""
    _LOGGER.info(event, extra={"facts": facts})


def warn(event: str, **facts: object) -> None:
    """Log an event that needs attention."""
    _LOGGER.warning(event, extra={"facts": facts})


def debug(event: str, **facts: object) -> None:
    """Log a detail for debugging."""
    _LOGGER.debug(event, extra={"facts": facts})


def start(verbosity_level: str = verbosity.NORMAL) -> None:
    """Write the log from now on, and let nothing else write to stderr.

    Args:
        verbosity_level: quiet leaves out what is as it should be, verbose adds each object that comes.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(_LEVELS[verbosity_level])
    _LOGGER.propagate = False
    verbosity.choose(verbosity.QUIET)
    warnings.simplefilter("ignore")
    _config.LOG_HANDLER_LEVEL = "none"  # it would describe each message
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.addHandler(logging.NullHandler())
        library.propagate = False
    threading.excepthook = lambda args: defect(args.exc_type, args.exc_traceback)


def defect(kind: type[BaseException], where: TracebackType | None) -> None:
    """Log an unexpected exception by its type and place; its text might name a patient."""
    places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(where)]
    _LOGGER.error("defect", extra={"facts": {"exception": kind.__name__, "traceback": places}})


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {"time": f"{when}.{record.msecs:03.0f}Z", "level": record.levelname.lower(), "event": record.msg}
        return json.dumps(line | getattr(record, "facts", {}), default=str)
