"""What the C library does with memory that is free again."""

import ctypes

_M_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE = 1 << 20  # bytes


def return_large_blocks() -> None:
    """Have glibc return large blocks to the system as soon as they are free, in this whole process.

    By itself it raises the limit of "large" to the largest block that was ever freed (mallopt(3)); images then lie
    between small things that stay, and a process that analyses many patients grows by the holes they leave.
    """
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
