"""A study of the node's queue with its progress, its received objects and its results."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from nbcad.language.message import Message

IMAGES = "images"  # folder of a study's objects, within the study's


class State(StrEnum):
    """The progress of a study; the docstring of `jobs` has the transitions."""

    RECEIVING = "receiving"
    WAITING = "waiting"
    ANALYSING = "analysing"
    SENDING = "sending"
    DONE = "done"
    SET_ASIDE = "set aside"


class Arrival(StrEnum):
    """The queue's answer to an arriving object."""

    NEW = "new"
    REPLACED = "replaced"  # the same UID with another content
    KNOWN = "known"  # it is there already, and kept once


@dataclass(frozen=True)
class Study:
    """One study of the queue; times are seconds since 1970 (UTC)."""

    job: int
    study_uid: str
    folder: Path
    sender: str  # calling AE title
    state: State
    since: float  # in this state
    reason: Message  # why set aside, not sent yet, or analysed anew; else empty
    first_received: float
    last_received: float
    objects: int
    bytes: int
    analyses: int  # begun so far
    analysed: float | None  # when the newest complete analysis ended; None: none yet
    stage: str | None  # its image-suggested stage; None: none suggested, or not analysed
    lesions: int | None
    report: Path | None  # its folder, with report.html
    results: int  # objects for the archive
    sent: int  # of them delivered
    send_attempts: int  # in vain

    @property
    def images(self) -> Path:
        """Folder of its objects."""
        return self.folder / IMAGES


@dataclass(frozen=True)
class Received:
    """An object that lies complete and fsynced in `Jobs.incoming`."""

    path: Path
    study_uid: str
    sop_uid: str
    sha256: bytes  # of the data set
    sender: str  # calling AE title


@dataclass(frozen=True)
class Result:
    """An object for the archive."""

    job: int
    name: str  # by which `Jobs.delivered` knows it
    path: Path
