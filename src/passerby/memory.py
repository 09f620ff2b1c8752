"""How the process treats memory that it has freed."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Lets glibc's malloc keep what is freed for the next allocation, instead of giving it back to the system.

    A training step on the CPU frees and allocates the same gigabyte of maps again. To get it from the system anew, page by
    page, takes a fifth of the step (MobileNetV2 at 128x64); what it costs is a tenth more memory where all batches are of one size,
    and a third to a half more on film, whose batches are not. Meant for a process of our own, the command line's; a library
    does not set this in somebody else's.

    Returns:
        whether it was set: on Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return all([mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, _LARGEST), mallopt(_M_TOP_PAD, 2**28)])
