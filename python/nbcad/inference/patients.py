"""The patients of an input: who they are, which of their series are analysed, and where that is done."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Generic, TypeVar

from nbcad.dicom import FileRecord, Series
from nbcad.dicom.rules import Decision
from nbcad.inference.models import ModelFiles, Models, kept_models
from nbcad.runtime.parallel import Map
from nbcad.runtime.progress import progress

_T = TypeVar("_T")
DecidedSeries = tuple[Series, Decision]


@dataclass(frozen=True)
class Patient:
    """One patient to be analysed."""

    number: int  # from 1, in the input's order
    patients: int  # how many the input holds
    first_series: int  # number of the first series that is analysed, from 1 over the input
    studies: list[list[DecidedSeries]]

    @property
    def records(self) -> list[FileRecord]:
        """Return the records of the files of the patient's series."""
        images = (image for members in self.studies for series, _ in members for image in series.slices)
        return list({id(image.record): image.record for image in images}.values())


@dataclass(frozen=True)
class _Result(Generic[_T]):
    """The results that another process sends back."""

    value: _T
    records: list[FileRecord]  # of the patient, in order


# What is done with a patient: given the models, and a function to be called after each series.
Work = Callable[[Models, Callable[[], object], Patient], _T]


def by_patient(series: list[Series], decide: Callable[[Series], Decision]) -> list[Patient]:
    """Return all patients, with what ``decide`` says of their series; these come sorted by patient and study."""
    groups, patients, first = list(_groups(series)), [], 1
    for number, group in enumerate(groups, start=1):
        studies = [[(one, decide(one)) for one in members] for members in group]
        patients.append(Patient(number, len(groups), first, studies))
        first += sum(not decision.reason for members in studies for _, decision in members)
    return patients


def _groups(series: list[Series]) -> Iterator[list[list[Series]]]:
    """Yield the studies of each patient."""
    # By patient too: a study UID that two patients share, as careless anonymisers leave it, must not make them one.
    studies = [list(members) for _, members in groupby(series, key=lambda s: (s.patient_id, s.study_uid))]
    # Nothing says that studies without Patient ID are of one patient.
    for _, members in groupby(studies, key=lambda s: (s[0].patient_id, "" if s[0].patient_id else s[0].study_uid)):
        yield list(members)


def work_on_patients(work: Work[_T], patients: list[Patient], models: Models, map_: Map) -> Iterator[_T]:
    """Yield what ``work`` returns for each patient, in order, and show the progress in series.

    A single patient is worked on in this process. What sets a patient's files aside in another process does so in the
    records here as well.

    Args:
        work: can be sent to another process, and so can what it returns.
        patients: of `by_patient`.
        models: the trained models; other processes load them from their files.
        map_: where patients are worked on.

    Raises:
        WorkerError: see `parallel.Map`.
    """
    with progress(total=sum(_count(patient) for patient in patients), desc="analyse", unit="series") as bar:
        if map_ is map or len(patients) == 1 or models.files is None:
            yield from map(partial(work, models, bar.update), patients)
            return
        for patient, result in zip(patients, map_(partial(_work_away, work, models.files), patients), strict=True):
            for record, known_there in zip(patient.records, result.records, strict=True):
                record.adopt(known_there)
            yield result.value
            bar.update(_count(patient))


def _count(patient: Patient) -> int:
    return sum(map(len, patient.studies))


def _work_away(work: Work[_T], files: ModelFiles, patient: Patient) -> _Result[_T]:
    """Work on a patient in a process that loads the models itself."""
    return _Result(work(kept_models(files), _no_progress, patient), patient.records)


def _no_progress() -> None:
    """Do nothing: the process that hands out the patients shows the progress."""
