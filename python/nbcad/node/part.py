"""What the node is put together from: parts that are started, stopped, and should be alive in between."""

import sqlite3
import threading
from typing import Protocol

from nbcad.node import log

IDLE_S, AFTER_ERROR_S = 0.5, 10.0


class Part(Protocol):
    """A part of the node."""

    @property
    def alive(self) -> bool:
        """Return whether the part does its work; if not, the node ends."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """Stop, and return when it has ended."""


class Loop:
    """A part that takes one step after the other in a thread of its own."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=type(self).__name__)

    @property
    def alive(self) -> bool:
        """Return whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the present step."""
        self.stopping.set()
        self._thread.join()

    def step(self) -> bool:
        """Do one thing; false if there was nothing to do.

        Raises:
            OSError, sqlite3.OperationalError: it could not be done now; a full disk is the usual reason.
        """
        raise NotImplementedError

    def _run(self) -> None:
        while not self.stopping.is_set():
            try:
                pause_s = 0.0 if self.step() else IDLE_S
            except (OSError, sqlite3.OperationalError) as error:
                log.warn("cannot go on", part=type(self).__name__, reason=str(error))
                pause_s = AFTER_ERROR_S
            self.stopping.wait(pause_s)
