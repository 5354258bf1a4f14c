"""Limits on a process's memory, and the return of freed memory to the system."""

import ctypes
import resource
from pathlib import Path

_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE = 1 << 20  # bytes


def return_large_blocks() -> None:
    """Make glibc return large blocks to the system as soon as they are freed, in the whole process.

    By default glibc raises its threshold for "large" to the largest block ever freed (mallopt(3)). Images then lie
    among small, long-lived objects, and the holes they leave make a process that analyses many patients grow.
    """
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def limit_memory(more: int, for_good: bool) -> None:
    """Limit how much memory this process may add, and forbid core files, which would hold patients' images.

    Args:
        more: bytes beyond what the process has now.
        for_good: forbid raising the limit again; otherwise a child process may set its own.
    """
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + more
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit if for_good else hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
