"""Errors that a user can meet. A command prints one as a single line and ends with exit code 1."""

from nbcad.language.message import Message, verbatim


class NbcadError(Exception):
    """Base of all errors of this package; the message says what is wrong, where, and what to do."""

    def __init__(self, said: Message | str):
        """Args: the text, as a `Message` where a page may show it in its own language."""
        super().__init__(said)
        self.message = said if isinstance(said, Message) else verbatim(said)


class InputError(NbcadError):
    """A file or folder from the user that is missing, unreadable or of the wrong kind."""


class OutputError(NbcadError):
    """Output that cannot be written."""


class OutputExistsError(OutputError):
    """Output that exists already, without ``--force``."""


class DatabaseError(NbcadError):
    """A sample database or an LMDB that is missing, incomplete or inconsistent."""


class SplitError(DatabaseError):
    """A patient, or one image twice, on two sides of a split."""


class ModelError(NbcadError):
    """A net, a solver or a trained model that is missing, malformed or does not fit."""


class DeviceError(NbcadError):
    """A device that was asked for and is not available."""


class WorkerError(NbcadError):
    """A process or machine sharing the work that is lost or unfit."""
