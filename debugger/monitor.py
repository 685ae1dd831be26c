"""The debugger's interface to the training loop. It owns recorder, rules, step times and sampler.

The promise to the loop: nothing here raises, blocks or fails in silence. A part that fails is switched off
for the rest of the job; the log says so once, and so do findings.json and the report.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import torch

from contract.debugger import FOLDER, TENSORS_FOLDER, Configuration, ConfigurationError
from contract.findings import FindingLine, StopLine, VerdictLine, format_line
from debugger import memory
from debugger.judge import Judge, News
from debugger.observation import Observation, Statistics
from debugger.profile import Profile, StepTime
from debugger.recorder import Recorder
from debugger.rules.rule import Plan
from debugger.smdebug_files import config as smdebug_config
from debugger.smdebug_files.saving import TensorSaving
from debugger.smdebug_files.step_files import StepFiles
from debugger.steps import OperatorWindow, StepProfiler
from debugger.watcher import Watcher

log = logging.getLogger("train.debugger")

Mode = Literal["TRAIN", "EVAL"]
Phase = Literal["data_wait", "host_to_device", "forward", "backward", "optimizer"]
PART_SHARED = 500  # step times and measurements of another process in one `share`
_LOCK_SECONDS = 2.0
MOST_WARNINGS = 20  # about one configuration


class Monitor:
    """Watches one training in one process. `start` makes an active one; `Monitor()` does nothing."""

    def __init__(self, patience: float = _LOCK_SECONDS) -> None:
        self._patience = patience
        self._recorder: Recorder | None = None
        self._failed_recorder: Recorder | None = None  # until the step ends and the model can be unhooked
        self._saving: TensorSaving | None = None
        self._profiler: StepProfiler | None = None
        self._watcher: Watcher | None = None
        self._judge = Judge([])
        self._configuration = Configuration(enabled=False, profile=False)
        self._rank, self._world = 0, 1
        self._node = ""
        self._problems: list[str] = []
        self._observations: list[Observation] = []
        self._own_losses: list[tuple[int, float]] = []
        self._own_steps: list[StepTime] = []
        self._ranks: dict[str, Any] = {}
        self._interruptions: list[float] = []
        self._may_stop = False
        self._stop: StopLine | None = None
        self._files: StepFiles | None = None
        self._closed = False

    @classmethod
    def start(
        cls,
        *,
        model: torch.nn.Module,
        loss: torch.nn.Module | None,
        output: Path,
        rank: int = 0,
        world: int = 1,
        local_rank: int = 0,
        plan: Plan | None = None,
        environment: Mapping[str, str] | None = None,
        patience: float = _LOCK_SECONDS,
    ) -> Monitor:
        """Start watching, as `BYOC_DEBUGGER` and SageMaker's own configuration files configure it.

        Call it once, after `init_process_group` and before the first step. The first process judges and
        writes; the others measure their own gradients, step times and machine, see `share`.

        Args:
            output: /opt/ml/output/data.
            patience: seconds that a step waits for the thread that reports findings.
        """
        monitor = cls(patience)
        began = time.process_time()
        source = os.environ if environment is None else environment
        try:
            monitor._start(model, loss, output, rank, world, local_rank, plan or Plan(), source)
        except Exception as error:
            monitor._fail("debugger", error)
            monitor._recorder = monitor._profiler = None
        if rank == 0 and (monitor._recorder or monitor._profiler):
            log.info(
                "debugger: watching with %d rules, started in %.2f s of one core",
                len(monitor._judge.evaluations), time.process_time() - began,
            )  # fmt: skip
        return monitor

    def _start(
        self,
        model: torch.nn.Module,
        loss: torch.nn.Module | None,
        output: Path,
        rank: int,
        world: int,
        local_rank: int,
        plan: Plan,
        source: Mapping[str, str],
    ) -> None:
        self._rank, self._world, self._node = rank, world, _host(source)
        configuration = self._configuration = self._configure(source)
        self._may_stop = bool(configuration.stopping_rules())
        platform = smdebug_config.load(source)
        _warn(platform.problems)
        if rank == 0:
            self._judge = Judge.of(configuration, plan)
        if configuration.enabled:
            wanted = configuration.wanted_collections()
            self._recorder = Recorder(
                model,
                loss,
                wanted if rank == 0 else {name: wanted[name] for name in ("gradients",) if name in wanted},
                plan.steps,
                distance=self._judge.distance(),
                own_gradients=world > 1,
                guard=self._guard_recorder,
            )
        hook = platform.hook
        if hook is None and configuration.enabled and configuration.keep_tensors:
            hook = smdebug_config.of_configuration(
                configuration, output / TENSORS_FOLDER, self._recorder.intervals if self._recorder else {}
            )
        if hook is not None:
            self._saving = TensorSaving.start(hook, model, loss, rank, self._hold_up)
        self._start_profiler(model, output, platform.profiler)
        if configuration.enabled or configuration.profile:
            interval = configuration.interval_ms / 1e3 if configuration.profile and local_rank == 0 else 0.0
            self._watcher = Watcher(
                output, source.get("TRAINING_JOB_NAME", ""), self._node, interval, self._judge,
                profile=Profile(),
                report=self._report,
                problems=lambda: list(self._problems),
                failed=self._part_failed,
                stopped=lambda: self._stop,
                writes=rank == 0,
            )  # fmt: skip
            self._watcher.start()
        atexit.register(self.close)

    def _configure(self, source: Mapping[str, str]) -> Configuration:
        try:
            configuration = Configuration.from_environment(source)
        except ConfigurationError as error:
            self._problem(f"The debugger runs with its defaults: {error}.")
            return Configuration()
        _warn(configuration.problems())
        return configuration.usable()

    def _start_profiler(
        self, model: torch.nn.Module, output: Path, platform: smdebug_config.ProfilerSettings | None
    ) -> None:
        if not self._configuration.profile and platform is None:
            return
        parameter = next(model.parameters(), None)
        device = parameter.device if parameter is not None else torch.device("cpu")
        worker, configuration = f"{self._node}-{self._rank}", self._configuration
        folder, first, steps = (
            output / FOLDER / "torch",
            configuration.window_start,
            configuration.window_steps,
        )
        if platform is not None:
            try:
                self._files = StepFiles(platform, self._node, self._rank)
            except Exception as error:
                self._files_failed(error)
            if platform.window_start is not None:
                folder = platform.local_path / "framework" / "torch"
                first, steps = platform.window_start, platform.window_steps

        def report(step: StepTime, starts: dict[str, float]) -> None:
            if self._files is not None:
                try:
                    self._files.add(step, starts)
                except Exception as error:
                    self._files_failed(error)
            if self._watcher is not None:
                self._watcher.put(step)
            if self._rank:
                self._own_steps.append(step)

        def operators(where: str, rows: list[dict[str, Any]]) -> None:
            if self._watcher is not None:
                self._watcher.profile.operators, self._watcher.profile.operators_from = rows, where

        window = None
        if steps:
            cuda = device.type == "cuda"
            window = OperatorWindow(folder, worker, first, steps, cuda=cuda, report=operators)
        self._profiler = StepProfiler(worker, device, window, report)

    def _files_failed(self, error: Exception) -> None:
        self._files = None
        self._fail("writer of the profiler's files", error)

    # What the loop calls

    def step(self, mode: Mode, number: int) -> _Step:
        """Wrap one batch, its data wait included. `number` counts that mode's batches from 0 over the job."""
        return _Step(self, mode, number)

    def phase(self, name: Phase) -> _Phase:
        """Time a part of the current step."""
        return _Phase(self, name)

    def trained(self, step: int, loss: float, pictures: int) -> None:
        """Record the loss of training step `step`: the mean over the `pictures` of this process."""
        recorder = self._recorder
        if recorder is None:
            return
        if self._world > 1:
            self._own_losses.append((step, loss))

        def show() -> None:
            observation = recorder.take(step, loss, pictures)
            if observation is not None and self._rank == 0:
                self._show(observation)

        self._guard_recorder(show)

    def evaluated(self, step: int, loss: float, pictures: int, right: int | None = None) -> None:
        """Record the validation loss after `step` training steps: the mean over all processes' pictures.

        `right`: how many of these the network classifies correctly.
        """
        recorder = self._recorder
        if recorder is None or self._rank or "losses" not in recorder.configured:
            return
        finite = math.isfinite(loss)
        tensor = Statistics(
            size=1, mean=loss if finite else None, nan=int(not finite), minimum=loss if finite else None
        )
        name = recorder.loss_name
        observation = Observation(
            step=step, mode="EVAL", tensors={name: tensor}, pictures=pictures, right=right,
            collections={"losses": frozenset([name])}, configured=recorder.configured,
        )  # fmt: skip
        self._guard_recorder(lambda: self._show(observation))

    def model_changed(self, running: torch.nn.Module | None = None) -> None:
        """Call after freezing or unfreezing parameters, or changing layers.

        `running`: the part of the model that the next steps run, if that is not all of it.
        """
        if self._recorder is not None:
            self._recorder.forget_modules(running)
        if self._saving is not None:
            self._saving.model_changed(running)

    @property
    def may_stop(self) -> bool:
        """Whether a rule may ask for the end of this training."""
        return self._may_stop

    @property
    def stop(self) -> StopLine | None:
        """The rule that asks for the end of the training, and its reason; None if none does. It is final."""
        if self._stop is None and self._may_stop and (news := self._judge.stopping()) is not None:
            evaluation, finding = news
            last = self._observations[-1].step if self._observations else None
            self._stop = StopLine(evaluation.name, last, finding.message)
        return self._stop

    def share(self, gather: Callable[[Any], list[Any]]) -> None:
        """Gather the measurements of all processes in the first one.

        All processes call it at the same moments. `gather` returns the values of all, in order of rank, to
        the first process.
        """
        part: dict[str, Any] = {"node": self._node, "losses": self._own_losses, "norms": []}
        self._own_losses, steps, self._own_steps = [], self._own_steps, []
        with self._contained("measurements of this process"):
            if self._recorder is not None:
                part["norms"], self._recorder.own_norms = self._recorder.own_norms, []
            if self._rank and self._watcher is not None:
                part["steps"] = steps[-PART_SHARED:]
                part["samples"] = self._watcher.take_samples(PART_SHARED)
        # A collective: also after a failure, because the other ranks wait in it.
        parts = gather(part)
        watcher = self._watcher
        if self._rank or watcher is None:
            return
        with self._contained("measurements of other processes"):
            for rank, other in enumerate(parts):
                watcher.add_rank(rank, other)
                kept = self._ranks.setdefault(str(rank), {"losses": [], "norms": []})
                for name in ("losses", "norms"):
                    kept[name] += other[name]

    def state(self) -> bytes:
        """The debugger's part of a checkpoint; see `restore`."""
        watcher = self._watcher
        if self._rank or watcher is None:
            return b""
        try:
            return memory.pack(
                memory.Memory(self._observations, watcher.measured(), self._ranks, self._interruptions)
            )
        except Exception as error:
            self._problem(f"The checkpoint lacks the debugger's findings and curves: {_sentence(error)}.")
            return b""

    def restore(self, state: bytes) -> None:
        """Continue from `state`, with the findings and curves from before the interruption.

        Call it before the first step. A state of fewer than two bytes is empty.
        """
        watcher = self._watcher
        if self._rank or watcher is None or len(state) < 2:
            return
        try:
            old = memory.unpack(state)
            interruptions = [*old.interruptions, time.time()]
            watcher.restore(old.profile, interruptions, old.ranks)
            self._ranks, self._interruptions = old.ranks, interruptions
            for observation in old.observations:
                self._show(observation, quiet=True)
        except Exception as error:
            self._problem(
                f"The debugger's findings and curves before the interruption are lost: {_sentence(error)}."
            )

    def close(self) -> None:
        """Judge and write for the last time, and log each rule's verdict; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        if self._saving is not None:
            self._saving.close()
        if self._profiler is not None:
            self._guard_profiler(self._profiler.close)
            self._profiler = None
        if self._files is not None:
            with self._contained("writer of the profiler's files"):
                self._files.close()
        for recorder in (self._recorder, self._failed_recorder):
            if recorder is not None:
                with self._contained("debugger's end"):
                    recorder.close()
        if self._watcher is not None:
            with self._contained("debugger's end"):
                self._close(self._watcher)

    def _close(self, watcher: Watcher) -> None:
        with self._contained("debugger's end"):
            self._report(self._judge.finish())
        if not watcher.close():
            log.warning("debugger: its thread does not answer, so its files may be incomplete")
        elif self._rank == 0 and self._judge.started:
            for result in self._judge.results(complete=True):
                line = VerdictLine(result.name, result.outcome, result.summary, result.total)
                log.info("%s", format_line(line))

    # Rules

    def _show(self, observation: Observation, *, quiet: bool = False) -> None:
        """Pass a step to the rules and the curves; `quiet`: its findings are in the log already."""
        self._observations.append(observation)
        watcher = self._watcher
        if watcher is None:
            return
        watcher.put(observation)
        if not watcher.lock.acquire(timeout=self._patience):
            raise TimeoutError(f"its other thread held the rules' lock for over {self._patience:g} s")
        try:
            news = self._judge.observe(observation)
        finally:
            watcher.lock.release()
        if news and not quiet:
            self._report(news)

    def _report(self, news: Iterable[News]) -> None:
        """Log findings, and let the watcher write them at once."""
        reported = False
        for evaluation, finding in news:
            reported = True
            line = FindingLine(
                evaluation.name,
                finding.step,
                finding.tensor,
                finding.severity,
                finding.message,
                finding.remedy,
            )
            log.info("%s", format_line(line))
        if reported and self._watcher is not None:
            self._watcher.hurry()

    # Containing failures

    def _problem(self, text: str) -> None:
        if text not in self._problems:
            self._problems.append(text)
            log.warning("debugger: %s", text)
            if self._watcher is not None:
                self._watcher.hurry()

    def _fail(self, part: str, error: BaseException) -> None:
        problem = f"The {part} switched itself off: {_sentence(error)}."
        if problem in self._problems:
            return
        self._problems.append(problem)
        log.warning("%s: off for the rest of this job: %s", part, _sentence(error))
        if self._watcher is not None:
            self._watcher.hurry()

    def _part_failed(self, part: str, error: BaseException) -> None:
        self._problem(f"The {part} failed: {_sentence(error)}.")

    @contextlib.contextmanager
    def _contained(self, part: str) -> Iterator[None]:
        """Keep a failure from the training; log and report name the part that failed."""
        try:
            yield
        except Exception as error:
            self._part_failed(part, error)

    def _guard_recorder(self, action: Callable[[], None]) -> None:
        if self._recorder is None:
            return
        started = time.perf_counter()
        try:
            action()
        except Exception as error:
            self._failed_recorder, self._recorder = self._recorder, None
            self._fail("debugger", error)
            self._judge.missing = self._problems[-1]
        finally:
            self._hold_up(time.perf_counter() - started)

    def _hold_up(self, seconds: float) -> None:
        """Count the time that the debugger took from a step as its own, not as the training's."""
        if self._profiler is not None:
            self._profiler.add_own_time(seconds)

    def _guard_profiler(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._profiler = None
            self._fail("profiler", error)

    # Steps

    def _begin(self, mode: Mode, number: int) -> None:
        profiler, recorder = self._profiler, self._recorder
        if profiler is not None:
            self._guard_profiler(lambda: profiler.begin_step(mode, number))
        if recorder is not None and mode == "TRAIN":
            self._guard_recorder(lambda: recorder.begin(number))
        if self._saving is not None:
            self._saving.begin_step(mode, number)

    def _end(self, mode: Mode) -> None:
        recorder, failed = self._recorder, self._failed_recorder
        if recorder is not None and mode == "TRAIN":
            self._guard_recorder(recorder.end)
        elif failed is not None:
            self._failed_recorder = None
            with self._contained("debugger's end"):
                failed.close()
        if self._saving is not None:
            self._saving.end_step()
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
        # After an error too: the last measurements before it help to explain it.
        self._monitor._end(self._mode)


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


def _warn(problems: list[str]) -> None:
    for problem in problems[:MOST_WARNINGS]:
        log.warning("debugger: not used: %s", problem[:1000])
    if len(problems) > MOST_WARNINGS:
        log.warning("debugger: there are %d more such problems", len(problems) - MOST_WARNINGS)


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
