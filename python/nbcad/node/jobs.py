"""The durable queue of the node: which studies came, how far each is, and which results were delivered.

One folder holds all that the node keeps:

    queue.sqlite                    the tables of jobs.sql
    incoming/                       objects that are being received
    studies/HASH/images/HASH.dcm    a study's objects; hashes are of UIDs
    studies/HASH/report-N/          the report of its analysis N, as `nbcad infer` writes it
    studies/HASH/analysis.log       what the analyses wrote to their stderr
    analyst.log                     the same, of the time before the first one
    lock                            held by the node

A study is one job, known to logs by its number. It goes through these states:

    receiving   objects come; when none has come for a while it is
    waiting     for its analysis
    analysing   in the analyst's process
    sending     its results to the archive, those not delivered yet
    done        all of them are there
    set aside   it cannot go on; `Study.reason` says why

An object that was not there yet brings a study back to receiving from any state: it is then analysed anew, and results
of before that were not delivered are not sent any more. Every change is one transaction that is on disk when the method
returns. A process that is killed loses nothing: `Jobs.recover` takes up what it was at.
"""

import hashlib
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nbcad.language.message import EMPTY, Message, from_text, message, to_text
from nbcad.node.study import IMAGES, Arrival, Received, Result, State, Study
from nbcad.node.tables import open_tables

DATABASE, INCOMING, STUDIES, LOG = "queue.sqlite", "incoming", "studies", "analysis.log"
MOST_BROKEN_OFF = 3  # analyses that ended with the whole node: the study may be what ends it
ANEW = message("objects came after its analysis; it is analysed anew")
BROKEN_OFF = message("the node ended {count} times while it was analysed", count=MOST_BROKEN_OFF)

_Write = Callable[..., sqlite3.Cursor]  # executes a statement, with its values, in a transaction


class Jobs:
    """The queue in a folder; its methods may be called by any thread."""

    def __init__(self, folder: Path):
        """Open the queue, or make it.

        Raises:
            DatabaseError: what stands there is no queue, or one of another version.
        """
        self.folder = folder.resolve()
        self.incoming = self.folder / INCOMING
        for path in (self.incoming, self.folder / STUDIES):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._connection = open_tables(self.folder / DATABASE)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    # --- receiving

    def add(self, received: Received) -> tuple[int, Arrival]:
        """Give an object its place and take it into the queue, which is on disk then.

        Returns:
            The study's job, and what the object was to it.

        Raises:
            OSError, sqlite3.Error: it could not be written; it is not in the queue then, and may be added again.
        """
        folder = f"{STUDIES}/{_hash(received.study_uid)}"
        size, now = received.path.stat().st_size, time.time()
        with self._writing() as write:
            found = write("UPDATE study SET sender = ? WHERE study_uid = ? RETURNING job, state",
                          received.sender, received.study_uid).fetchone()  # fmt: skip
            job, state = found or write(
                "INSERT INTO study (study_uid, folder, sender, state, since, first_received, last_received)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING job, state",
                received.study_uid, folder, received.sender, State.RECEIVING, now, now, now,
            ).fetchone()  # fmt: skip
            known = write("SELECT sha256 FROM object WHERE job = ? AND sop_uid = ?", job, received.sop_uid).fetchone()
            arrival = Arrival.NEW if known is None else Arrival.REPLACED
            if known and known[0] == received.sha256:
                arrival = Arrival.KNOWN
            else:
                _move(received.path, self.folder / folder / IMAGES / f"{_hash(received.sop_uid)}.dcm")
                write("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?)",
                      job, received.sop_uid, received.sha256, size, now)  # fmt: skip
            # A sender that begins anew will come to what is missing; of what was set aside, it wants another try.
            if arrival != Arrival.KNOWN or state in (State.RECEIVING, State.SET_ASIDE):
                self._receive(write, job, State(state), now)
        return job, arrival

    def _receive(self, write: _Write, job: int, state: State, now: float) -> None:
        """Bring a study back to receiving."""
        if state != State.RECEIVING:
            anew = ANEW if state in (State.ANALYSING, State.SENDING, State.DONE) else EMPTY
            write("UPDATE study SET state = ?, since = ?, reason = ?, broken_off = 0 WHERE job = ?",
                  State.RECEIVING, now, to_text(anew), job)  # fmt: skip
        write("UPDATE study SET last_received = ? WHERE job = ?", now, job)

    # --- analysing

    def settle(self, quiet_s: float) -> list[int]:
        """Let the studies wait of which nothing came for ``quiet_s`` seconds; returns their jobs."""
        now = time.time()
        with self._writing() as write:
            rows = write(
                "UPDATE study SET state = ?, since = ? WHERE state = ? AND last_received <= ? RETURNING job",
                State.WAITING, now, State.RECEIVING, now - quiet_s,
            ).fetchall()  # fmt: skip
        return sorted(row["job"] for row in rows)

    def take(self) -> Study | None:
        """Take the study that has waited longest for its analysis; None if none waits.

        There is one worker: a study that is still being analysed when it asks for another is one that it left.
        """
        with self._writing() as write:
            write("UPDATE study SET state = ? WHERE state = ?", State.WAITING, State.ANALYSING)
            row = write(
                "UPDATE study SET state = ?, since = ?, analyses = analyses + 1"
                " WHERE job = (SELECT job FROM study WHERE state = ? ORDER BY last_received, job LIMIT 1)"
                " RETURNING job",
                State.ANALYSING, time.time(), State.WAITING,
            ).fetchone()  # fmt: skip
        return self.study(row["job"]) if row else None

    def analysed(
        self,
        study: Study,
        report: Path,
        stage: str | None,
        lesions: int | None,
        results: Sequence[Path],
        reason: Message = EMPTY,
    ) -> bool:
        """Record a complete analysis, whose results are to be sent from now on.

        Args:
            study: as `take` gave it.
            report: folder of its report.
            stage: the image-suggested one, if one is.
            lesions: how many were found; None where nothing is said of the images.
            results: objects for the archive.
            reason: why the study is set aside nevertheless, if it is.

        Returns:
            False, and nothing is recorded, if objects came meanwhile: it will be analysed anew.
        """
        now = time.time()
        state = State.SET_ASIDE if reason else State.SENDING if results else State.DONE
        with self._writing() as write:
            if not self._leave(write, study, state, now, reason):
                return False
            write("UPDATE study SET analysed = ?, stage = ?, lesions = ?, report = ? WHERE job = ?",
                  now, stage, lesions, _below(study.folder, report), study.job)  # fmt: skip
            write("DELETE FROM result WHERE job = ?", study.job)
            for path in results:
                write("INSERT INTO result (job, path) VALUES (?, ?)", study.job, _below(study.folder, path))
        return True

    def set_aside(self, study: Study, reason: Message) -> bool:
        """Record that a study cannot go on; false, and nothing is recorded, if it left its state meanwhile."""
        with self._writing() as write:
            return self._leave(write, study, State.SET_ASIDE, time.time(), reason)

    def put_back(self, study: Study, reason: Message) -> bool:
        """Let a study wait once more whose analysis failed by no fault of its own; false as in `set_aside`."""
        with self._writing() as write:
            return self._leave(write, study, State.WAITING, time.time(), reason)

    def _leave(self, write: _Write, study: Study, state: State, now: float, reason: Message = EMPTY) -> bool:
        """Change a study's state, if it is still the one, and its analysis still the one, that ``study`` has."""
        changed = write(
            "UPDATE study SET state = ?, since = ?, reason = ?, broken_off = 0, send_attempts = 0, send_after = 0"
            " WHERE job = ? AND state = ? AND analyses = ?",
            state, now, to_text(reason), study.job, study.state, study.analyses,
        )  # fmt: skip
        return bool(changed.rowcount)

    # --- sending

    def to_send(self) -> Study | None:
        """Return the study whose results are due next; None if there is none now."""
        rows = self._read(
            f"{_STUDY} WHERE state = ? AND send_after <= ? ORDER BY send_after, job LIMIT 1",
            State.SENDING, time.time(),
        )  # fmt: skip
        return self._study(rows[0]) if rows else None

    def unsent(self, study: Study) -> list[Result]:
        """Return the results of a study that have not been delivered yet."""
        rows = self._read("SELECT path FROM result WHERE job = ? AND sent IS NULL ORDER BY path", study.job)
        return [Result(study.job, row["path"], study.folder / row["path"]) for row in rows]

    def delivered(self, result: Result) -> None:
        """Record that the archive has a result."""
        with self._writing() as write:
            write("UPDATE result SET sent = ? WHERE job = ? AND path = ?", time.time(), result.job, result.name)

    def all_delivered(self, study: Study) -> bool:
        """Record that a study is done; false as in `set_aside`."""
        with self._writing() as write:
            return self._leave(write, study, State.DONE, time.time())

    def not_delivered(self, study: Study, reason: Message, wait_s: float) -> None:
        """Record that sending failed and is to be tried again after ``wait_s`` seconds."""
        with self._writing() as write:
            write("UPDATE study SET reason = ?, send_attempts = send_attempts + 1, send_after = ?"
                  " WHERE job = ? AND state = ? AND analyses = ?",
                  to_text(reason), time.time() + wait_s, study.job, State.SENDING, study.analyses)  # fmt: skip

    # --- the node's start, and what is old

    def recover(self) -> list[int]:
        """Take up what a process that ended was at: call it once, before anything else uses the folder.

        Returns:
            Jobs whose analysis was broken off. They wait for another one, or are set aside after `MOST_BROKEN_OFF`.
        """
        for path in self.incoming.iterdir():
            path.unlink()
        now = time.time()
        with self._writing() as write:
            rows = write("UPDATE study SET state = ?, since = ?, broken_off = broken_off + 1 WHERE state = ?"
                         " RETURNING job", State.WAITING, now, State.ANALYSING).fetchall()  # fmt: skip
            write("UPDATE study SET state = ?, reason = ?, broken_off = 0 WHERE state = ? AND broken_off >= ?",
                  State.SET_ASIDE, to_text(BROKEN_OFF), State.WAITING, MOST_BROKEN_OFF)  # fmt: skip
            write("UPDATE study SET send_after = 0 WHERE state = ?", State.SENDING)
            # Nobody could send meanwhile.
            write("UPDATE study SET last_received = ? WHERE state = ?", now, State.RECEIVING)
        return sorted(row["job"] for row in rows)

    def forget(self, before: float) -> list[int]:
        """Remove studies, with all their files, that are done or set aside since before a time; returns their jobs."""
        with self._writing() as write:  # nothing is added meanwhile
            rows = write("DELETE FROM study WHERE state IN (?, ?) AND since < ? RETURNING job, folder",
                         State.DONE, State.SET_ASIDE, before).fetchall()  # fmt: skip
            for row in rows:
                shutil.rmtree(self.folder / row["folder"], ignore_errors=True)
        return sorted(row["job"] for row in rows)

    # --- reading

    def study(self, job: int) -> Study | None:
        """Return one study; None if there is no such job."""
        rows = self._read(f"{_STUDY} WHERE job = ?", job)
        return self._study(rows[0]) if rows else None

    def studies(self, state: State | None = None, limit: int = 1000, offset: int = 0) -> list[Study]:
        """Return all studies or those in one state, the newest first, without the first ``offset``."""
        where, values = ("WHERE state = ?", (state,)) if state else ("", ())
        order = "ORDER BY last_received DESC, job DESC LIMIT ? OFFSET ?"
        return [self._study(row) for row in self._read(f"{_STUDY} {where} {order}", *values, limit, offset)]

    def counts(self) -> dict[State, int]:
        """Return the number of studies in each state."""
        found = {row[0]: row[1] for row in self._read("SELECT state, count(*) FROM study GROUP BY state")}
        return {state: found.get(state, 0) for state in State}

    def waiting_since(self) -> float | None:
        """Since when the longest waiting study waits for its analysis; None if none does."""
        return self._read("SELECT min(since) FROM study WHERE state = ?", State.WAITING)[0][0]

    def _study(self, row: sqlite3.Row) -> Study:
        folder = self.folder / row["folder"]
        report = folder / row["report"] if row["report"] else None
        reason = from_text(row["reason"])
        state = State(row["state"])
        return Study(**dict(row) | {"folder": folder, "report": report, "state": state, "reason": reason})

    def _read(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[_Write]:
        """Run one transaction."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield lambda statement, *values: self._connection.execute(statement, values)
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


_STUDY = """
    SELECT job, study_uid, folder, sender, state, since, reason, first_received, last_received,
        (SELECT count(*) FROM object WHERE object.job = study.job) AS objects,
        (SELECT coalesce(sum(bytes), 0) FROM object WHERE object.job = study.job) AS bytes,
        analyses, analysed, stage, lesions, report,
        (SELECT count(*) FROM result WHERE result.job = study.job) AS results,
        (SELECT count(sent) FROM result WHERE result.job = study.job) AS sent,
        send_attempts
    FROM study"""


def _hash(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


def _below(folder: Path, path: Path) -> str:
    return str(path.resolve().relative_to(folder))


def _move(path: Path, to: Path) -> None:
    """Rename a file, which is on disk then under its new name."""
    if not to.parent.exists():
        to.parent.mkdir(parents=True, mode=0o700)
        for folder in to.parents[1:3]:  # that of the study, and that of all studies
            sync(folder)
    os.replace(path, to)
    sync(to.parent)


def sync(path: Path) -> None:
    """Have a file's contents, or a folder's names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
