"""Linux's ways to keep processes together. Elsewhere (macOS) they do nothing."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PDEATHSIG: Final = 1
_CHILD_SUBREAPER: Final = 36


def die_with_parent(parent: int) -> None:
    """This process is killed when the one that started it ends. `parent`: its id, as it was at the start."""
    _prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(1)


def adopt_orphans() -> None:
    """Descendants whose parent has died become children of this process, so that it can end and reap them."""
    _prctl(_CHILD_SUBREAPER, 1)


def alive(pid: int) -> bool:
    """Whether there is a process with this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)
