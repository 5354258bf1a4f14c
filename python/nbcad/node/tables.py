"""The tables of the node's queue (jobs.sql): made, opened, and brought to the present version."""

import sqlite3
from importlib import resources
from pathlib import Path

from nbcad.errors import DatabaseError
from nbcad.language.message import to_text, verbatim

VERSION = 2


def open_tables(path: Path) -> sqlite3.Connection:
    """Open the database of a queue, or make it; transactions are left to the caller, who may use it in any thread.

    Raises:
        DatabaseError: what stands there is no queue, or one of another version.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.row_factory = sqlite3.Row
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {setting}")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            tables = (resources.files("nbcad.node") / "jobs.sql").read_text()
            connection.executescript(f"BEGIN IMMEDIATE;\n{tables}\nCOMMIT;")
        elif version == 1:
            _keep_reasons_as_messages(connection)
        elif version != VERSION:
            raise DatabaseError(f"{path} has version {version}, not {VERSION}; give another folder")
    except sqlite3.DatabaseError as error:
        raise DatabaseError(f"{path} is no queue of a node: {error}") from error
    return connection


def _keep_reasons_as_messages(connection: sqlite3.Connection) -> None:
    """Bring tables of version 1, whose reasons are English text, to the present version, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for job, reason in connection.execute("SELECT job, reason FROM study").fetchall():
        connection.execute("UPDATE study SET reason = ? WHERE job = ?", (to_text(verbatim(reason)), job))
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")
