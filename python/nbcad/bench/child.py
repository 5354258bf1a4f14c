"""Commands run as processes of their own, and the time and memory that they take."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nbcad.errors import NbcadError

Command = Sequence[str | Path]
NBCAD = (sys.executable, "-m", "nbcad")  # the name of a step follows
_SECONDS_BETWEEN_LOOKS = 0.02


@dataclass(frozen=True)
class Cost:
    """The time and memory of one run of a command."""

    wall_s: float
    cpu_s: float  # of all threads
    memory: int  # bytes, the process's highest resident set


def run(command: Command, allowed: tuple[int, ...] = (0,), **environment: str) -> Cost:
    """Run a command, discard its output, and measure it.

    Args:
        command: program and arguments.
        allowed: exit codes that do not count as failure.
        environment: variables in addition to those of this process.

    Raises:
        NbcadError: the command ended with another exit code.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | environment
    )
    memory = 0
    # getrusage would also count the memory of this process at the time of the fork.
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        memory = max(memory, high_water(process.pid))
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    wall_s = time.monotonic() - started
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in allowed:
        raise NbcadError(f"{' '.join(map(str, command))} ended with {process.returncode}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, memory)


def high_water(pid: int | str = "self") -> int:
    """Return the highest resident set of a process so far, in bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)
