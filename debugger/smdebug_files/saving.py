"""Saves whole tensors in smdebug's format, where a job brings a DebugHookConfig or asks to keep tensors.

smdebug is imported for it, which takes a second. If it fails, it is switched off for the rest of the job;
the log says so once, and so does a file beside its output.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from contract.files import write_atomically
from debugger.smdebug_files.config import HookSettings
from debugger.smdebug_files.reader import format_status

if TYPE_CHECKING:
    from debugger.smdebug_files.hook import TensorHook

log = logging.getLogger("train.debugger")

STATUS_FILE = "hook-status.json"


class TensorSaving:
    """smdebug's hook, contained. `hold_up` takes the seconds that a step lost to it."""

    def __init__(self, folder: Path, hold_up: Callable[[float], None]) -> None:
        self._folder = folder
        self._hold_up = hold_up
        self._hook: TensorHook | None = None
        self._saving = False

    @classmethod
    def start(
        cls,
        settings: HookSettings,
        model: torch.nn.Module,
        loss: torch.nn.Module | None,
        rank: int,
        hold_up: Callable[[float], None],
    ) -> TensorSaving:
        """Import smdebug and attach its hook; one that cannot be had is off from the start."""
        saving = cls(settings.out_dir, hold_up)
        try:
            from debugger.smdebug_files import glue

            hook: TensorHook = glue.load_hook_module().create(settings, model, loss, rank, _workers())
            hook.guard = saving._guard
            saving._hook = hook
        except Exception as error:
            saving._fail(error)
            return saving
        names = sorted(collection.name for collection in hook._collections_to_save)
        log.info("debugger: saving %s to %s", ", ".join(names) or "nothing", settings.out_dir)
        return saving

    def begin_step(self, mode: str, number: int) -> None:
        """A step of TRAIN or EVAL begins."""
        hook = self._hook
        if hook is not None:

            def begin() -> None:
                self._saving = hook.begin_step(mode, number)

            self._guard(begin)

    def end_step(self) -> None:
        """The step is over: write what it saved."""
        if self._saving and self._hook is not None:
            self._guard(self._hook.end_step)
        self._saving = False

    def model_changed(self, running: torch.nn.Module | None) -> None:
        """See `Monitor.model_changed`."""
        hook = self._hook
        if hook is not None:
            self._guard(lambda: hook.forget_modules(running))

    def close(self) -> None:
        """Write what is left."""
        if self._hook is not None:
            self._guard(self._hook.close)
            self._hook = None

    def _guard(self, action: Callable[[], None]) -> None:
        started = time.perf_counter()
        try:
            action()
        except Exception as error:
            self._fail(error)
        finally:
            self._hold_up(time.perf_counter() - started)

    def _fail(self, error: Exception) -> None:
        hook, self._hook = self._hook, None
        self._saving = False
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        log.warning("debugger: no more tensors are saved in this job: %s", reason)
        step: Any = None
        if hook is not None:
            step = hook.step
            try:
                hook.abandon()
            except Exception as second:
                log.warning("debugger: the tensors of the running step are lost: %s", second)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._folder / STATUS_FILE, format_status(step, reason))
        except Exception as second:  # a name that is no path's is a ValueError
            log.warning("debugger: %s cannot be written: %s", self._folder / STATUS_FILE, second)


def _workers() -> int:
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_world_size())
    return 1
