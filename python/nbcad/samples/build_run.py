"""The options that decide a sample database, and the state of one build while it runs."""

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from nbcad.annotation.files import LESIONS, LabelFile
from nbcad.dicom import Archive, Series
from nbcad.runtime.parallel import Map
from nbcad.samples.database_writer import DatabaseWriter
from nbcad.samples.rows import FileRow, LabelFileRow
from nbcad.samples.sampling import Sample
from nbcad.samples.splitting import SplitPlan


@dataclass(frozen=True)
class Options:
    """The options that decide a database besides its images and labels; they stay the same from its first build on."""

    split: SplitPlan = field(default_factory=SplitPlan)
    balance: bool = False  # keep no more training samples of a class than the rarest class has
    lesions: str = LESIONS  # see `files.read_label_files`

    def as_meta(self) -> dict[str, str]:
        """Return the options as texts for the table ``meta``."""
        split = {name: str(getattr(self.split, name)) for name in ("seed", "shares", "folds", "fold", "by")}
        return {f"split_{name}" if name == "by" else name: text for name, text in split.items()} | {
            "balance": str(self.balance),
            "lesions": self.lesions,
        }


@dataclass
class Build:
    """One build while it runs."""

    database: DatabaseWriter
    key: bytes
    options: Options
    archive: Archive
    stages: Path | None  # the table of patients
    map_: Map  # where pixels are decoded
    problems: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)  # new ones
    refused: int = 0  # image files
    idle_labels: int = 0  # label files of images that are not taken
    files: dict[str, FileRow] = field(init=False)  # as earlier runs left them

    def __post_init__(self) -> None:
        self.files = self.database.files()

    def patient_hash(self, series: Series) -> str:
        """Return the hash under which the patient of a series is stored."""
        return hmac.new(self.key, series.patient_id.encode(), hashlib.sha256).hexdigest()

    def label_file_row(self, file: LabelFile) -> LabelFileRow:
        """Return the row of a label file; a CSV gives the stages itself, other files take them from the table."""
        stages = self._stages_file if file.source != "csv" else (None, None)
        return LabelFileRow(str(file.path.absolute()), file.source, file.sha256, *stages)

    @cached_property
    def _stages_file(self) -> tuple[str | None, str | None]:
        """Return the path and SHA-256 of the table of patients."""
        if self.stages is None:
            return None, None
        return str(self.stages.absolute()), hashlib.sha256(self.stages.read_bytes()).hexdigest()
