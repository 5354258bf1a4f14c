"""How much a command says beside its results: as usual, only what went wrong, or also how a result came about.

Errors and refusals do not pass through here: they are always said.
"""

import os
import sys
import warnings

QUIET, NORMAL, VERBOSE = "quiet", "normal", "verbose"
VARIABLE = "NBCAD_VERBOSITY"  # by which a step that another step starts says as much
_level = NORMAL


def choose(wanted: str | None) -> None:
    """Let this process, and the steps that it starts, say as much as one of the levels; None: as they were told to."""
    global _level
    inherited = os.environ.get(VARIABLE, NORMAL)
    _level = wanted or (inherited if inherited in (QUIET, VERBOSE) else NORMAL)
    os.environ[VARIABLE] = _level
    if _level == QUIET and not sys.warnoptions:
        warnings.simplefilter("ignore")


def level() -> str:
    """Return the level that was chosen."""
    return _level


def quiet() -> bool:
    """Return whether neither progress nor notes are wanted."""
    return _level == QUIET


def verbose() -> bool:
    """Return whether details are wanted."""
    return _level == VERBOSE


def note(text: str) -> None:
    """Say on stdout what a step has made, unless quiet is wanted."""
    if not quiet():
        print(text)


def hint(text: str) -> None:
    """Say on stderr what a user should know though nothing went wrong, unless quiet is wanted."""
    if not quiet():
        print(text, file=sys.stderr)


def detail(text: str) -> None:
    """Say on stderr how a result came about, if details are wanted."""
    if verbose():
        print(text, file=sys.stderr)
