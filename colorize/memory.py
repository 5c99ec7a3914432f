"""How much memory there is, and how much is taken."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_UNKNOWN = 4 * 2**30  # where the system does not say
# (limit, in use, of that in files that can be dropped) of a container's control group, versions 2 and 1
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        "/sys/fs/cgroup/memory/memory.stat",
    ),
)


def available() -> int:
    """Bytes that can still be taken without swapping: of the machine, or of the container where that has less."""
    found = [_UNKNOWN]
    with suppress(OSError, AttributeError, ValueError):  # no Windows
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2]
    with suppress(OSError, KeyError):
        found = [1024 * _table("/proc/meminfo")["MemAvailable:"]]
    for limit, used, stat in _GROUPS:
        with suppress(OSError, ValueError):  # "max": no limit
            droppable = _table(stat).get("inactive_file", 0)
            found.append(int(Path(limit).read_text()) - int(Path(used).read_text()) + droppable)
    return max(0, min(found))


def peak(work: Callable[[], None]) -> int:
    """The most bytes of memory that this process held while ``work()`` ran. Raises OSError where that is not Linux."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is from here on
    work()
    return 1024 * _table("/proc/self/status")["VmHWM:"]


def _table(path: str) -> dict[str, int]:
    rows = (line.split() for line in Path(path).read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
