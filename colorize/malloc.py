"""glibc's allocator told to keep what is freed: a training step asks for the same buffers again and again."""

from __future__ import annotations

import ctypes
import platform

# mallopt(3). By default each large buffer is mapped, zeroed page by page when it is first touched, and unmapped.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_SETTINGS = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 256 * 2**20}


def is_glibc() -> bool:
    """Whether the C library is the one that these functions are for."""
    return platform.libc_ver()[0] == "glibc"


def keep_freed_memory() -> None:
    """From here on this process takes large buffers from its heap and does not give freed ones back to the system.

    Right for a process that trains and then ends, wrong for one that serves: its memory stays at its peak.

    Raises:
        ValueError: the C library is not glibc, as on macOS, Windows and Alpine.
    """
    if not is_glibc():
        raise ValueError("trainer.malloc=true is for Linux with glibc, and this is another system: leave it out")
    libc = ctypes.CDLL(None)
    refused = [setting for setting, value in _SETTINGS.items() if libc.mallopt(setting, value) != 1]
    assert not refused, refused


def share_freed_memory() -> None:
    """For a process that serves: few pools, so that what one thread freed another takes. Not glibc: nothing."""
    if is_glibc():
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 2)


def give_freed_memory_back() -> None:
    """Hand the pages of freed buffers back to the system, about 10 ms. Where the C library is not glibc: nothing."""
    if is_glibc():
        ctypes.CDLL(None).malloc_trim(0)
