"""The analyses' process as the node sees it: what a study does to that process ends with it."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from nbcad.errors import ModelError, NbcadError, OutputError
from nbcad.language.message import Message, from_text, message
from nbcad.node.config import Analyse
from nbcad.node.jobs import LOG
from nbcad.node.study import Study

COMMAND = (sys.executable, "-m", "nbcad.node.analysis_server")
START_S = 300.0  # for imports and models
_POLL_S = 0.2


class AnalysisFailed(NbcadError):
    """A study cannot be analysed."""

    def __init__(self, reason: Message):
        """Args: the reason."""
        super().__init__(reason)


class Stopped(Exception):
    """The node ends before the analysis did."""


@dataclass(frozen=True)
class Findings:
    """The findings of an analysis."""

    stage: str | None
    lesions: int | None
    results: list[Path]  # objects for the archive
    reason: Message  # why no series could be analysed; empty if one was


class Analyst:
    """Starts the process, has it analyse, and replaces it when a study has ended it."""

    def __init__(self, settings: Analyse, log: Path):
        """Args: settings of the analysis; file for the output of the process before its first study."""
        self._settings, self._log = settings, log
        self._process: subprocess.Popen | None = None
        self._line: Connection | None = None

    def start(self, stopping: Callable[[], bool] = lambda: False) -> None:
        """Have the process ready; nothing happens if it is.

        Raises:
            ModelError: the models cannot be loaded.
            Stopped: ``stopping`` became true.
        """
        if self._process and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair()
        with theirs, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*COMMAND, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._line = Connection(ours.detach())
        with suppress(OSError):  # it ended at once; the answer will say so
            self._line.send_bytes(json.dumps(asdict(self._settings)).encode())
        try:
            answer = self._answer(START_S, stopping)
        except AnalysisFailed as error:
            raise ModelError(
                message(
                    "the models cannot be loaded: {reason}; {log} says more", reason=error.message, log=str(self._log)
                )
            ) from error
        if "error" in answer:
            raise ModelError(from_text(answer["error"]))

    def analyse(self, study: Study, report: Path, stopping: Callable[[], bool]) -> Findings:
        """Analyse a study.

        Args:
            study: whose images are analysed.
            report: folder to be made.
            stopping: asked now and then.

        Raises:
            AnalysisFailed: it cannot be analysed; the message says why.
            ModelError: the process could not be replaced.
            OutputError: there is no space for the report.
            Stopped: ``stopping`` became true.
        """
        self.start(stopping)
        assert self._line is not None
        task = {"images": study.images, "report": report, "log": study.folder / LOG}
        self._line.send_bytes(json.dumps(task, default=str).encode())
        answer = self._answer(self._settings.timeout_s, stopping)
        if "no_space" in answer:
            raise OutputError(from_text(answer["no_space"]))
        if "failed" in answer:
            raise AnalysisFailed(from_text(answer["failed"]))
        results = [Path(path) for path in answer["results"]]
        return Findings(**answer | {"results": results, "reason": from_text(answer["reason"])})

    def close(self) -> None:
        """End the process, whatever it is at."""
        if self._process is None or self._line is None:
            return
        self._process.kill()
        self._process.wait()
        self._line.close()
        self._process = self._line = None

    def _answer(self, seconds: float, stopping: Callable[[], bool]) -> dict:
        assert self._process is not None and self._line is not None
        deadline = time.monotonic() + seconds
        while not self._line.poll(_POLL_S):
            if stopping():
                self.close()
                raise Stopped
            if time.monotonic() > deadline:
                self.close()
                raise AnalysisFailed(message("its analysis takes more than {seconds} s", seconds=f"{seconds:g}"))
        try:
            return json.loads(self._line.recv_bytes())
        except (EOFError, OSError):
            raise AnalysisFailed(_how_ended(self._process.wait())) from None


def _how_ended(code: int) -> Message:
    if code == -signal.SIGKILL:
        return message("its analysis was killed; the system may have been out of memory")
    if code < 0:
        return message("its analysis was ended by {name}", name=signal.Signals(-code).name)
    return message("its analysis ended with code {code}; {file} in its folder says where", code=code, file=LOG)
