"""The exceptions that a user can meet; a tool prints one as a single line and ends with exit code 1."""


class NbcadError(Exception):
    """Base of all errors of this package. The message says what, where and what to do."""


class InputError(NbcadError):
    """A file or folder given by the user is missing, unreadable or not what it should be."""


class OutputError(NbcadError):
    """Output cannot be written."""


class OutputExistsError(OutputError):
    """Output stands there already and ``--force`` was not given."""


class DatabaseError(NbcadError):
    """The sample database or an LMDB is missing, incomplete or inconsistent."""


class SplitError(DatabaseError):
    """A patient or an identical image stands on two sides of a split."""


class ModelError(NbcadError):
    """A net, a solver or a trained model is missing, malformed or does not fit."""


class DeviceError(NbcadError):
    """The device asked for is not there."""


class WorkerError(NbcadError):
    """A process or machine that shares the work is gone, or does not fit."""
