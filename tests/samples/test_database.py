"""The database file: what is none is refused, and its SQL stands in one place."""

import ast
import re
from pathlib import Path

import pytest

import nbcad
from nbcad.errors import DatabaseError
from nbcad.samples.database import SampleDatabase


def test_what_is_no_sample_database_is_refused(tmp_path):
    (tmp_path / "x.sqlite").write_text("no database at all, but long enough to be looked at as one")
    for path, message in ((tmp_path / "x.sqlite", "not a sample database"), (tmp_path / "y", "make data")):
        with pytest.raises(DatabaseError, match=message):
            SampleDatabase.open(path)


def test_only_the_modules_of_the_database_hold_sql():
    package = Path(nbcad.__file__).parent
    queues = {package / "node" / name for name in ("jobs.py", "tables.py")}  # another schema: the node's own queue
    holders = {package / "samples" / f"database{part}.py" for part in ("", "_checks", "_writer")}
    for path in sorted(set(package.rglob("*.py")) - holders - queues):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.fullmatch("execute(many|script)?", node.attr):
                raise AssertionError(f"{path}:{node.lineno} goes round SampleDatabase")
