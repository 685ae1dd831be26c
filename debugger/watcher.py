"""The thread beside a training: it measures the machine, judges the profile and writes what is known so far.

It may take a small share of one core, and the training never waits for it: what a step gives goes through
queues, and a lock that is not free in time switches the debugger off.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from contract.debugger import FINDINGS_FILE, FOLDER, SERIES_FILE
from contract.files import write_atomically
from contract.findings import Findings, MachineLine, StopLine, format_line, plain
from debugger.judge import Judge, News
from debugger.observation import Observation
from debugger.profile import Profile, Row, Sample, StepTime
from debugger.sampler import Machine
from debugger.series import Series

log = logging.getLogger("train.debugger")

# Of one core, over time: measuring, and judging and writing.
SAMPLING_SHARE: Final = 0.004
WRITING_SHARE: Final = 0.005
SHORTEST_WRITE: Final = 2.0
# The machine's use is a line of the log this often, in a long training less: as its progress is.
SHORTEST_SAID: Final = 1.0
SAID_SHARE: Final = 1 / 600
LONGEST_CLOSE: Final = 30.0
T = TypeVar("T")


class Watcher:
    """Runs from `start` to `close`.

    Args:
        output: /opt/ml/output/data.
        node: this host's name in the job.
        interval: seconds between two measurements of the machine; 0 for none.
        report: takes the findings of profiler rules.
        problems: what makes the debugger's part incomplete.
        failed: takes a part that failed, and why.
        judge: shared with the training thread, which holds `lock` while it shows it a step.
        stopped: the rule that ends the training, once there is one.
        writes: off in all processes but the first.
    """

    def __init__(
        self,
        output: Path,
        job: str,
        node: str,
        interval: float,
        judge: Judge,
        *,
        profile: Profile,
        report: Callable[[Iterable[News]], None],
        problems: Callable[[], list[str]],
        failed: Callable[[str, Exception], None],
        stopped: Callable[[], StopLine | None],
        writes: bool = True,
    ) -> None:
        self.lock = threading.Lock()  # of the profile and the judge
        self.series = Series(job)  # this thread's alone
        self.profile = profile
        self._output, self._job, self._node = output, job, node
        self._interval = interval
        self._judge = judge
        self._writes = writes
        self._report, self._problems, self._failed, self._stopped = report, problems, failed, stopped
        self._machine: Machine | None = None
        self._began = time.monotonic()
        self._said_due = self._began
        self._unwritable = False
        self._steps: queue.SimpleQueue[StepTime] = queue.SimpleQueue()
        self._curves: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._closing = False
        self._urgent = False
        self._written: dict[str, str] = {}
        self._thread = threading.Thread(target=self._run, name="debugger", daemon=True)

    def start(self) -> None:
        """Begin; the files are there from now on, whatever happens."""
        if self._writes:
            self._write_all(Profile(), complete=False, urgent=False)
        self._thread.start()

    def put(self, item: Observation | StepTime) -> None:
        """Hand over what a step gave."""
        if isinstance(item, StepTime):
            self._steps.put(item)
        else:
            self._curves.put(partial(self.series.observe, item))

    def hurry(self) -> None:
        """Write soon: there is a new finding."""
        self._urgent = True
        self._wake.set()

    def measured(self) -> Profile:
        """All step times and measurements so far; what changes later does not change it."""
        with self.lock:
            self._add_steps()
            return replace(
                self.profile,
                steps=list(self.profile.steps),
                samples=dict(self.profile.samples),
                totals=dict(self.profile.totals),
            )

    def take_samples(self, most: int) -> list[Sample]:
        """The measurements that were not taken yet; of too many, means of neighbours."""
        with self.lock:
            while len(self.profile.samples) > most:
                self.profile.merge_samples()
            samples = self.profile.timeline()
            self.profile.samples = {}
        return samples

    def add_rank(self, rank: int, part: Mapping[str, Any]) -> None:
        """Add what another process measured: losses and norms of gradients as (step, value), times, the
        machine."""
        self._curves.put(partial(self.series.add_rank, rank, part["losses"], part["norms"]))
        with self.lock:
            for step in part.get("steps", ()):
                self.profile.add_step(step)
            for sample in part.get("samples", ()):
                if sample.node != self._node:
                    self.profile.samples[Profile.key(sample.node, sample.time)] = sample

    def restore(self, profile: Profile, interruptions: list[float], ranks: Mapping[str, Any]) -> None:
        """Take what was measured before an interruption."""
        with self.lock:
            measured = self.profile
            self.profile = profile
            for step in measured.steps:
                profile.add_step(step)
            profile.samples.update(measured.samples)
        self.series.interruptions = interruptions
        for rank, part in ranks.items():
            # Copies: the lists grow while these wait.
            losses, norms = list(part["losses"]), list(part["norms"])
            self._curves.put(partial(self.series.add_rank, int(rank), losses, norms))

    def close(self) -> bool:
        """Judge and write for the last time; returns whether that came to an end."""
        self._closing = True
        self._wake.set()
        self._thread.join(LONGEST_CLOSE)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._watch()
        except Exception as error:
            self._failed("debugger's thread", error)

    def _watch(self) -> None:
        if self._interval:
            self._machine = self._contained("machine's measurement", Machine)
        sample_due = time.monotonic() + self._interval
        write_due = 0.0
        while not self._closing:
            now = time.monotonic()
            if self._machine is not None and now >= sample_due:
                cost = time.thread_time()
                self._measure()
                cost = time.thread_time() - cost
                sample_due = now + max(self._interval, cost / SAMPLING_SHARE)
            if now >= write_due or self._urgent:
                cost = time.thread_time()
                self._work(ended=False)
                cost = time.thread_time() - cost
                write_due = now + max(SHORTEST_WRITE, cost / WRITING_SHARE)
            self._wake.clear()
            if not self._closing and not self._urgent:
                due = write_due if self._machine is None else min(sample_due, write_due)
                self._wake.wait(max(0.0, due - time.monotonic()))
        self._measure()
        if self._machine is not None:
            self._contained("machine's measurement", self._machine.close)
        self._work(ended=True)

    def _contained(self, part: str, action: Callable[[], T]) -> T | None:
        """Do a part of the work; one that fails is named, and the others go on."""
        try:
            return action()
        except Exception as error:
            self._failed(part, error)
            return None

    def _measure(self) -> None:
        if self._machine is None:
            return
        try:
            rows, when = self._machine.sample(), time.time()
            with self.lock:
                self.profile.add_metrics(self._node, when, rows)
            self._say(rows, when)
        except Exception as error:
            self._machine = None
            self._failed("machine's measurement", error)

    def _say(self, rows: Iterable[Row], when: float) -> None:
        """The machine's use for those who look on: what is written to files is seen at the end only."""
        now = time.monotonic()
        if not self._writes or self._closing or now < self._said_due:
            return
        self._said_due = now + max(SHORTEST_SAID, (now - self._began) * SAID_SHARE)
        sample = Sample(when, self._node)
        for _, name, dimension, value in rows:
            sample.add(name, dimension, value)
        log.info("%s", format_line(machine_line(sample)))

    def _work(self, *, ended: bool) -> None:
        urgent, self._urgent = self._urgent and not ended, False
        # The training's thread adds what other processes measured: the rules look at a copy.
        profile = self._contained("judgement of the profile", self.measured) or Profile()
        if not self._writes:
            return
        if not urgent:
            self._add_to_curves()
            news = self._contained(
                "judgement of the profile", lambda: self._judge.profile(profile, ended=ended)
            )
            self._report(news or [])
        self._write_all(profile, complete=ended, urgent=urgent)

    def _write_all(self, profile: Profile, *, complete: bool, urgent: bool) -> None:
        if not urgent:
            self._contained("writer of curves", lambda: self._write_series(profile, complete=complete))
        self._contained("writer of findings", lambda: self._write_findings(complete=complete))

    def _add_steps(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self.profile.add_step(self._steps.get_nowait())

    def _add_to_curves(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._contained("writer of curves", self._curves.get_nowait())

    def _write_findings(self, *, complete: bool) -> None:
        problems = self._problems()
        with self.lock:
            results = self._judge.results(complete=complete)
        stop = self._stopped()
        by, at = (stop.rule, stop.step) if stop else ("", None)
        findings = Findings(self._job, complete, results, tuple(problems), by, at)
        self._write(FINDINGS_FILE, findings.to_json())

    def _write_series(self, profile: Profile, *, complete: bool) -> None:
        content = self.series.to_dict(profile, complete=complete)
        self._write(SERIES_FILE, json.dumps(plain(content), separators=(",", ":")))

    def _write(self, name: str, text: str) -> None:
        if self._written.get(name) == text:
            return
        try:
            (self._output / FOLDER).mkdir(parents=True, exist_ok=True)
            write_atomically(self._output / name, text)
        except OSError as error:
            if not self._unwritable:  # it is tried again, and said once
                self._unwritable = True
                self._failed("writing of its files", error)
            return
        self._written[name] = text


def machine_line(sample: Sample) -> MachineLine:
    """What the log says of a measurement: means over cores and GPUs."""

    def mean(values: Mapping[str, float]) -> float | None:
        return round(sum(values.values()) / len(values), 1) if values else None

    return MachineLine(
        time=round(sample.time, 2),
        cpu=mean(sample.cores),
        memory=None if sample.memory is None else round(sample.memory, 1),
        io_wait=mean(sample.io_wait),
        gpu=mean(sample.gpus),
        gpu_memory=mean(sample.gpu_memory),
    )
