"""How much memory is left, and whether a model fits into it."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path
from typing import Final

# While a model is read there are its file, its tensors and their frozen copy; then some work space.
_COPIES: Final = 3
_RESERVE: Final = 64 * 1024**2
_GROUP: Final = Path("/sys/fs/cgroup")


def available(meminfo: Path = Path("/proc/meminfo"), group: Path = _GROUP) -> int | None:
    """Bytes that can still be had, by the system and by the control group. None where nobody says."""
    found = []
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        pass
    if (limit := group_limit(group)) is not None:
        try:
            used = int((group / "memory.current").read_text())
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            found.append(limit - used + int(stat.get("inactive_file", 0)))  # a cache, given up at need
        except (OSError, ValueError):
            pass
    return min(found, default=None)


def total(meminfo: Path = Path("/proc/meminfo"), group: Path = _GROUP) -> int | None:
    """Bytes that this container may use."""
    found = []
    try:
        first = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemTotal:"))
        found.append(int(first.split()[1]) * 1024)
    except (OSError, StopIteration, ValueError):
        pass
    if (limit := group_limit(group)) is not None:
        found.append(limit)
    return min(found, default=None)


def group_limit(group: Path = _GROUP) -> int | None:
    """The control group's limit in bytes, version 2 or 1; None for no limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = int((group / name).read_text())
        except (OSError, ValueError):  # "max"
            continue
        return limit if limit < 1 << 60 else None
    return None


def give_back() -> None:
    """Return what is free to the system: dead cycles of objects, and what the C library keeps for later."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def require(folder: Path) -> None:
    """Raise MemoryError if the model in this folder would not fit."""
    left = available()
    try:
        needed = _COPIES * sum(file.stat().st_size for file in folder.glob("*.safetensors")) + _RESERVE
    except OSError:
        return  # whoever reads it will say so
    if left is not None and needed > left:
        raise MemoryError(f"loading this model takes {needed >> 20} MB, and {left >> 20} MB are left")
