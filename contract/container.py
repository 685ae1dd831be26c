"""What the machine, or the container's control group, lets this process use: cores and memory."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_GROUP: Final = Path("/sys/fs/cgroup")
_MEMINFO: Final = Path("/proc/meminfo")
# Of version 2 and of version 1, below the group's folder.
_LIMIT: Final = ("memory.max", "memory/memory.limit_in_bytes")
_USED: Final = ("memory.current", "memory/memory.usage_in_bytes")


def cores(group: Path = _GROUP) -> int:
    """Whole cores, by the process's affinity and its control group's quota; at least one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (group / "cpu.max").read_text().split()
        count = min(count, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no such file, or "max": no quota
        pass
    return max(count, 1)


def available_memory(meminfo: Path = _MEMINFO, group: Path = _GROUP) -> int | None:
    """Bytes that can still be had, by the system and by the control group. None where nobody says."""
    amounts = _of_system(meminfo, "MemAvailable")
    if (limit := memory_limit(group)) is not None:
        try:
            file = next(group / name for name in _USED if (group / name).exists())
            used = int(file.read_text())
            stat = dict(line.split() for line in (file.parent / "memory.stat").read_text().splitlines())
            cache = int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))  # given up at need
            amounts.append(limit - used + cache)
        except (OSError, StopIteration, ValueError):
            pass
    return min(amounts, default=None)


def total_memory(meminfo: Path = _MEMINFO, group: Path = _GROUP) -> int | None:
    """Bytes that this container may use. None where nobody says."""
    amounts = _of_system(meminfo, "MemTotal")
    if (limit := memory_limit(group)) is not None:
        amounts.append(limit)
    return min(amounts, default=None)


def memory_limit(group: Path = _GROUP) -> int | None:
    """The control group's limit in bytes, version 2 or 1; None for no limit."""
    for name in _LIMIT:
        try:
            limit = int((group / name).read_text())
        except (OSError, ValueError):  # "max"
            continue
        return limit if limit < 1 << 60 else None
    return None


def _of_system(meminfo: Path, key: str) -> list[int]:
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return [int(lines[key].split()[0]) * 1024]
    except (OSError, KeyError, ValueError):
        return []
