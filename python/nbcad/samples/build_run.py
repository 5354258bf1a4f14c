"""One build of the sample database while it goes on, and the options that decide it."""

import hashlib
import hmac
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import nbcad
from nbcad.annotation.files import LESIONS
from nbcad.dicom import Archive, Series
from nbcad.runtime.parallel import Map
from nbcad.samples.sampling import Sample
from nbcad.samples.splitting import SplitPlan


@dataclass(frozen=True)
class Options:
    """What decides a database besides its images and labels; the same from its first build on."""

    split: SplitPlan = field(default_factory=SplitPlan)
    balance: bool = False  # keep of each class of the training samples no more than of the rarest
    lesions: str = LESIONS  # see `files.read_label_files`

    def as_meta(self) -> dict[str, str]:
        """Texts for the table ``meta``."""
        split = {name: str(getattr(self.split, name)) for name in ("seed", "shares", "folds", "fold", "by")}
        return {f"split_{name}" if name == "by" else name: text for name, text in split.items()} | {
            "balance": str(self.balance),
            "lesions": self.lesions,
        }


@dataclass
class Build:
    """One run while it goes on."""

    connection: sqlite3.Connection
    run: int
    key: bytes
    options: Options
    archive: Archive
    stages: Path | None  # the table of patients
    map_: Map  # where pixels are decoded
    problems: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)  # new ones
    refused: int = 0  # image files
    idle_labels: int = 0  # label files of images that are not taken
    files: dict[str, tuple[str, str, int, int]] = field(init=False)  # status, reason, bytes, mtime_ns; before this run

    def __post_init__(self) -> None:
        rows = self.connection.execute("SELECT path, status, reason, bytes, mtime_ns FROM file").fetchall()
        self.files = {path: (status, reason, size, mtime_ns) for path, status, reason, size, mtime_ns in rows}

    def patient(self, series: Series) -> str:
        """The hash under which a series' patient stands."""
        return hmac.new(self.key, series.patient_id.encode(), hashlib.sha256).hexdigest()

    def insert(self, table: str, **values: str | float | None) -> int:
        """Insert a row of this run; return its number."""
        values["run"] = self.run
        marks = ", ".join("?" * len(values))
        statement = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"
        return _inserted(self.connection.execute(statement, tuple(values.values())))


def insert_run(connection: sqlite3.Connection) -> int:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return _inserted(connection.execute("INSERT INTO run VALUES (NULL, ?, ?)", (now, nbcad.__version__)))


def _inserted(cursor: sqlite3.Cursor) -> int:
    """The number of the row that was inserted."""
    assert cursor.lastrowid is not None
    return cursor.lastrowid
