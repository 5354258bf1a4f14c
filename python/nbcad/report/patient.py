"""What the writers of a report are given of one patient."""

from collections.abc import Iterator
from dataclasses import dataclass

from nbcad.inference.analysis import SeriesAnalysis
from nbcad.report.types import FileEntry, SeriesEntry, StudyEntry, Summary


@dataclass
class PatientAnalysis:
    """The findings in one patient, kept while the pictures are needed."""

    number: int  # from 1, in the report's order
    patients: int  # how many the input holds
    first_series: int  # number of its first analysed series, from 1 over the report
    studies: tuple[StudyEntry, ...]
    analyses: list[list[SeriesAnalysis | None]]  # behind each series of each study; None: not analysed
    files: tuple[FileEntry, ...]  # that its series are made of
    summary: Summary  # of these

    def series(self) -> Iterator[tuple[StudyEntry, SeriesEntry, SeriesAnalysis | None]]:
        """Yield each series: its study's entry, its own entry, and the analysis behind it."""
        for study, analyses in zip(self.studies, self.analyses, strict=True):
            for entry, analysis in zip(study.series, analyses, strict=True):
                yield study, entry, analysis
