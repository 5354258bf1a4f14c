"""The node as a whole."""

import fcntl
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from nbcad.errors import InputError
from nbcad.node import log, pages
from nbcad.node.analysis_client import Analyst
from nbcad.node.config import Config
from nbcad.node.jobs import Jobs
from nbcad.node.part import Part
from nbcad.node.receiver import Receiver
from nbcad.node.sender import Sender
from nbcad.node.study import State
from nbcad.node.worker import Worker

LOCK, ANALYST_LOG, TOKEN = "lock", "analyst.log", "pages.token"
_DAY_S, _CLEAN_EVERY_S = 86_400.0, 600.0


class Node:
    """Receives, analyses and sends, as long as it is entered as a context."""

    jobs: Jobs
    receiver: Receiver

    def __init__(self, config: Config):
        """Args: all settings."""
        self._config = config
        self.parts: list[Part] = []

    def __enter__(self) -> "Node":
        """Take the folder, load the models, and start all parts.

        Raises:
            InputError: the folder is another node's, or the certificates or the pages' token cannot be used.
            DatabaseError: what stands in the folder is no queue.
            ModelError: the models cannot be loaded.
            OSError: the folder cannot be written, or the address not be listened on.
        """
        config = self._config
        folder = Path(config.folder)
        with ExitStack() as stack:
            stack.enter_context(_lock(folder))
            self.jobs = stack.enter_context(closing(Jobs(folder)))
            if config.send.host:
                self.parts.append(Sender(config.send, config.tls, config.receive.ae_title, self.jobs))
            analyst = stack.enter_context(closing(Analyst(config.analyse, folder / ANALYST_LOG)))
            analyst.start()
            worker = Worker(self.jobs, analyst, config.receive.quiet_s, sends=bool(config.send.host))
            self.parts.append(worker)
            self.receiver = Receiver(config.receive, config.tls, self.jobs)
            self.parts.append(self.receiver)
            for job in self.jobs.recover():
                log.warn("analysis was broken off", job=job)
            for part in self.parts:
                part.start()
                stack.callback(part.stop)
            if config.pages.bind:
                self._serve_pages(stack, worker)
            self._stack = stack.pop_all()
        unsent = self.jobs.counts()[State.SENDING]
        if unsent and not config.send.host:
            log.warn("results wait, but [send] names no archive", studies=unsent)
        host, port = self.receiver.address
        log.info("started", ae_title=config.receive.ae_title, address=host, port=port)
        return self

    def _serve_pages(self, stack: ExitStack, worker: Worker) -> None:
        token = Path(self._config.folder) / TOKEN
        server = pages.serve(
            self.jobs,
            pages.Config(
                token=pages.read_token(token),
                worker_alive=lambda: worker.alive,
                listening=lambda: self.receiver.alive,
                host=self._config.pages.bind,
                port=self._config.pages.port,
                least_free=self._config.receive.reserve_mib << 20,
                language=self._config.analyse.lang,
            ),
        )
        stack.callback(server.close)
        log.info("pages", address=server.address, token_file=str(token))

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        log.info("stopped")

    def troubles(self) -> list[str]:
        """Return the current troubles by part; empty while all is well."""
        return [f"{type(part).__name__} does not work" for part in self.parts if not part.alive]

    def wait(self) -> bool:
        """Wait for SIGTERM or SIGINT, and remove what is old meanwhile; false if a part of the node ended before."""
        stop = threading.Event()
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, lambda *_: stop.set())
        cleaned = 0.0
        while not stop.wait(1.0):
            if self.troubles():
                log.warn("ends", reason=self.troubles())
                return False
            if self._config.keep_days and time.monotonic() - cleaned > _CLEAN_EVERY_S:
                for job in self.jobs.forget(time.time() - self._config.keep_days * _DAY_S):
                    log.info("study removed", job=job)
                cleaned = time.monotonic()
        return True


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Keep other nodes out of a folder, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"folder {folder} is in use by another node; give another --folder") from error
        yield
