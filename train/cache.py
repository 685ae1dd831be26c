"""Decoded pictures, kept so that later epochs do not decode again: in memory first, then on disk, mapped."""

from __future__ import annotations

import logging
import mmap
import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil

from contract import container

log = logging.getLogger("train")
Pixels = np.ndarray[Any, np.dtype[np.uint8]]

# Of what is free when the job starts; the rest is for the model, the checkpoints and the operating system.
_MEMORY_SHARE: Final = 0.4
_DISK_SHARE: Final = 0.5


class Cache:
    """Holds pictures up to a budget; shared by the splits and by the threads.

    Args:
        memory_bytes: for pictures in memory.
        disk_bytes: for those that do not fit there. They lie in a file without a name, which goes when the
            process goes, however it ends; the operating system keeps as much of it in memory as it can.
        folder: where that file is made, when it is needed.
    """

    def __init__(self, memory_bytes: int = 0, disk_bytes: int = 0, folder: Path | None = None) -> None:
        self.memory_bytes, self.disk_bytes = memory_bytes, disk_bytes
        self.used_memory = self.used_disk = 0
        self._folder = folder
        self._lock = threading.Lock()
        self._file = -1
        self._map: mmap.mmap | None = None

    def keep(self, pixels: Pixels) -> Pixels | None:
        """The array to keep instead of `pixels` (its own, or one that is mapped); None where all is full."""
        with self._lock:
            if self.used_memory + pixels.nbytes <= self.memory_bytes:
                self.used_memory += pixels.nbytes
                return pixels
            if self.used_disk + pixels.nbytes > self.disk_bytes:
                return None
            try:
                return self._to_disk(pixels)
            except OSError as error:
                log.warning("no more pictures are kept on disk: %s", error.strerror or error)
                self.disk_bytes = 0
                return None

    def _to_disk(self, pixels: Pixels) -> Pixels:
        if self._map is None:
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
            self._file, name = tempfile.mkstemp(dir=self._folder)
            Path(name).unlink()
            weakref.finalize(self, os.close, self._file)
            os.ftruncate(self._file, self.disk_bytes)
            self._map = mmap.mmap(self._file, self.disk_bytes, access=mmap.ACCESS_READ)
        # Written with a call, not through the map: a full disk is then an error and no SIGBUS.
        data, done = np.ascontiguousarray(pixels).data.cast("B"), 0
        while done < len(data):
            done += os.pwrite(self._file, data[done:], self.used_disk + done)
        kept = np.frombuffer(self._map, np.uint8, pixels.size, self.used_disk).reshape(pixels.shape)
        self.used_disk += pixels.nbytes
        return kept


def memory_budget(setting_mb: int, processes: int = 1) -> int:
    """Bytes for one of the host's processes: as asked, or a share of the free memory (the container's, where
    it has a limit)."""
    if setting_mb:
        return max(0, setting_mb) * 1_000_000 // processes
    return int(_MEMORY_SHARE * _free_memory()) // processes


def disk_budget(setting_mb: int, folder: Path, processes: int = 1) -> int:
    """Bytes for one of the host's processes: as asked, or a share of the free disk."""
    if setting_mb:
        return max(0, setting_mb) * 1_000_000 // processes
    return int(_DISK_SHARE * shutil.disk_usage(folder).free) // processes


def _free_memory() -> int:
    free = container.available_memory()
    return max(0, int(psutil.virtual_memory().available) if free is None else free)
