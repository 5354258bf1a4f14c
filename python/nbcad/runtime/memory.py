"""How much memory a process may take, and what the C library does with what is free again."""

import ctypes
import resource
from pathlib import Path

_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE = 1 << 20  # bytes


def return_large_blocks() -> None:
    """Have glibc return large blocks to the system as soon as they are free, in this whole process.

    By itself it raises the limit of "large" to the largest block that was ever freed (mallopt(3)); images then lie
    between small things that stay, and a process that analyses many patients grows by the holes they leave.
    """
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def limit_memory(more: int, for_good: bool) -> None:
    """Let this process take so many bytes more than it has, and leave no core file: it would hold patients' images.

    Args:
        more: bytes.
        for_good: the limit cannot be raised again; else a process that is started may set its own.
    """
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + more
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit if for_good else hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
