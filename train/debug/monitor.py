"""What the training loop calls; does nothing where SageMaker left no configuration.

The promise to the loop: nothing here raises, waits or falls silent. If the hook or the profiler fails, it is
switched off for the rest of the job, the log says so once, and so does a file beside its output.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from train.debug import config

if TYPE_CHECKING:
    import torch

    from train.debug.hook import TensorHook
    from train.debug.profiler import StepProfiler

log = logging.getLogger("train.debug")

Mode = Literal["TRAIN", "EVAL"]
Phase = Literal["data_wait", "host_to_device", "forward", "backward", "optimizer"]
STATUS_FILE = "hook-status.json"


class Monitor:
    """Records steps, losses and tensors; made by `from_environment`."""

    def __init__(self) -> None:
        self._hook: TensorHook | None = None
        self._profiler: StepProfiler | None = None
        self._tensor_folder: Path | None = None
        self._saving = False
        self._closed = False

    @classmethod
    def from_environment(
        cls,
        *,
        model: torch.nn.Module,
        loss: torch.nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        rank: int = 0,
        steps: int = 0,
        evaluation: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> Monitor:
        """Read the platform's configuration files; without any, every method does nothing.

        Call it once, after `init_process_group` and before the first step. `optimizer` may be replaced later:
        gradients are read from whichever torch optimizer is stepped. `steps`: how many training steps the job
        has, and `evaluation` how many one evaluation has, where that is known; see `config.fit`.
        """
        monitor = cls()
        source = os.environ if environment is None else environment
        try:
            wanted = config.load(source)
        except Exception as error:
            log.warning("debugger: off, its configuration cannot be read: %s", _sentence(error))
            return monitor
        for problem in wanted.problems:
            log.warning("debugger: %s", problem)
        if wanted.hook is not None:
            for changed in config.fit(wanted.hook, steps, evaluation):
                log.info("debugger: %s", changed)
            monitor._start_hook(wanted.hook, model, loss, rank)
        if wanted.profiler is not None:
            monitor._start_profiler(wanted.profiler, model, rank, _host(source))
        if monitor._hook is not None or monitor._profiler is not None:
            atexit.register(monitor.close)
        return monitor

    @property
    def active(self) -> bool:
        """Whether anything is recorded."""
        return self._hook is not None or self._profiler is not None

    def step(self, mode: Mode, number: int) -> _Step:
        """Wrap one batch, its data wait included. `number` counts that mode's batches from 0 over the job."""
        return _Step(self, mode, number)

    def phase(self, name: Phase) -> _Phase:
        """Time a part of the current step."""
        return _Phase(self, name)

    def record_loss(self, name: str, value: torch.Tensor) -> None:
        """Save a loss that no loss module computes; the one that `loss=` computed last is not saved twice."""
        if self._saving and self._hook is not None:
            hook = self._hook
            self._guard_hook(lambda: hook.record_loss(name, value))

    def model_changed(self, running: torch.nn.Module | None = None) -> None:
        """Call after freezing or unfreezing parameters, or changing layers.

        `running`: the only part of the model that the coming steps run, where that is not all of it.
        """
        if self._hook is not None:
            hook = self._hook
            self._guard_hook(lambda: hook.forget_modules(running))

    def close(self) -> None:
        """Write what is left; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        if self._hook is not None:
            self._guard_hook(self._hook.close)
            self._hook = None
        if self._profiler is not None:
            self._guard_profiler(self._profiler.close)
            self._profiler = None

    # Starting

    def _start_hook(
        self, settings: config.HookSettings, model: torch.nn.Module, loss: torch.nn.Module | None, rank: int
    ) -> None:
        self._tensor_folder = settings.out_dir
        try:
            from train.debug import smdebug_glue

            hook: TensorHook = smdebug_glue.load_hook_module().create(settings, model, loss, rank, _workers())
            hook.guard = self._guard_hook
            self._hook = hook
        except Exception as error:
            self._hook_failed(error)
            return
        names = sorted(collection.name for collection in hook._collections_to_save)
        log.info("debugger: saving %s to %s", ", ".join(names) or "nothing", settings.out_dir)

    def _start_profiler(
        self, settings: config.ProfilerSettings, model: torch.nn.Module, rank: int, host: str
    ) -> None:
        try:
            from train.debug.profiler import StepProfiler

            parameter = next(model.parameters(), None)
            import torch

            device = parameter.device if parameter is not None else torch.device("cpu")
            self._profiler = StepProfiler(settings, host, rank, device)
        except Exception as error:
            log.warning("profiler: off, steps are not timed: %s", _sentence(error))

    # Containing failures

    def _guard_hook(self, action: Callable[[], None]) -> None:
        started = time.perf_counter()
        try:
            action()
        except Exception as error:
            self._hook_failed(error)
        finally:
            if self._profiler is not None:
                self._profiler.add_hook_time(time.perf_counter() - started)

    def _hook_failed(self, error: Exception) -> None:
        hook, self._hook = self._hook, None
        self._saving = False
        reason = _sentence(error)
        log.warning("debugger: off for the rest of this job, no more tensors are saved: %s", reason)
        step = None
        if hook is not None:
            step = hook.step
            try:
                hook.abandon()
            except Exception as second:
                log.warning("debugger: what it had open is lost: %s", _sentence(second))
        if self._tensor_folder is None:
            return
        status = {"schema": 1, "state": "disabled", "step": step, "reason": reason}
        try:
            self._tensor_folder.mkdir(parents=True, exist_ok=True)
            aside = self._tensor_folder / (STATUS_FILE + ".tmp")
            aside.write_text(json.dumps(status))
            aside.replace(self._tensor_folder / STATUS_FILE)
        except OSError as second:
            log.warning("debugger: that could not be noted in %s: %s", self._tensor_folder, _sentence(second))

    def _guard_profiler(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            profiler, self._profiler = self._profiler, None
            log.warning("profiler: off for the rest of this job, steps are not timed: %s", _sentence(error))
            if profiler is not None:
                with suppress(Exception):
                    profiler.close()

    # Steps

    def _begin(self, mode: Mode, number: int) -> None:
        profiler = self._profiler
        if profiler is not None:
            self._guard_profiler(lambda: profiler.begin_step(mode, number))
        hook = self._hook
        if hook is not None:

            def begin() -> None:
                self._saving = hook.begin_step(mode, number)

            self._guard_hook(begin)

    def _end(self) -> None:
        if self._saving and self._hook is not None:
            self._guard_hook(self._hook.end_step)
        self._saving = False
        if self._profiler is not None:
            self._guard_profiler(self._profiler.end_step)


class _Step:
    __slots__ = ("_mode", "_monitor", "_number")

    def __init__(self, monitor: Monitor, mode: Mode, number: int) -> None:
        self._monitor, self._mode, self._number = monitor, mode, number

    def __enter__(self) -> None:
        self._monitor._begin(self._mode, self._number)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error too: what was saved before it is what one needs to understand it.
        self._monitor._end()


class _Phase:
    __slots__ = ("_begun", "_monitor", "_name")

    def __init__(self, monitor: Monitor, name: Phase) -> None:
        self._monitor, self._name = monitor, name
        self._begun: Any = None

    def __enter__(self) -> None:
        profiler = self._monitor._profiler
        if profiler is not None:
            try:
                self._begun = profiler.begin_phase(self._name)
            except Exception as error:
                self._failed(error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        profiler = self._monitor._profiler
        if profiler is not None and self._begun is not None:
            try:
                profiler.end_phase(self._name, self._begun)
            except Exception as second:
                self._failed(second)

    def _failed(self, error: Exception) -> None:
        def again() -> None:
            raise error

        self._monitor._guard_profiler(again)


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _host(environment: Mapping[str, str]) -> str:
    """The host's name in the job, `algo-1` and so on."""
    if environment.get("SM_CURRENT_HOST"):
        return environment["SM_CURRENT_HOST"]
    base = Path(environment.get("SAGEMAKER_BASE_DIR") or "/opt/ml")
    try:
        content = json.loads((base / "input/config/resourceconfig.json").read_text())
        return str(content["current_host"])
    except (OSError, ValueError, KeyError, TypeError):
        return "algo-1"


def _workers() -> int:
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_world_size())
    return 1
