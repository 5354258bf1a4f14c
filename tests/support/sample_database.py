"""Sample databases as SQL sees them, apart from the code under test."""

import sqlite3
from contextlib import closing
from pathlib import Path


def query(path: Path, statement: str) -> list[sqlite3.Row]:
    """Return the rows that a statement gives."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return connection.execute(statement).fetchall()


def change(path: Path, statement: str) -> None:
    """Change a database by a statement."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def tables(path: Path) -> dict[str, list[tuple]]:
    """Return all rows of all tables, by table."""
    names = [row["name"] for row in query(path, "SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: [tuple(row) for row in query(path, f"SELECT * FROM {name}")] for name in names}
