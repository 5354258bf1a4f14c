"""On what something was computed or measured."""

import os
import platform
from pathlib import Path


def processor() -> str:
    """The processor's name as the kernel has it, or its architecture."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())


def describe() -> dict[str, str | int]:
    """Processor, number of its cores that may be used, and Python's version."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }
