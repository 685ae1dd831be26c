"""Judges a job of another image, or another hook, by the files that it writes, while it runs.

The local SageMaker runs it for jobs that bring rule configurations. Everything it writes appears whole: a
reader never sees half a file.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract.files import write_atomically
from contract.findings import Findings, Outcome, RuleResult, plain
from contract.rules import Kind
from debugger.judge import Evaluation, Judge
from debugger.profile import Profile
from debugger.series import Series
from debugger.smdebug_files.profile_reader import ProfileReader
from debugger.smdebug_files.reader import END_FILE, TrialReader

log = logging.getLogger("train.debugger")

POLL_SECONDS = 1.0
# Polls that find nothing come further and further apart.
LONGEST_POLL = 5.0
# Judging the whole profile anew and writing everything is what costs; not more often than this.
WRITE_SECONDS = 2.0
SILENCE_SECONDS = 30.0
# This share of one core at most, over time.
CPU_SHARE = 0.35
SECTIONS: Mapping[Kind, str] = {"debugger": "DebugRule", "profiler": "ProfilerRule"}


class Evaluator:
    """Follows one job. `run` returns when the job has ended, `stop` was called, or at once with `once`."""

    def __init__(
        self,
        job: str,
        tensors: Path | None,
        profile: Path | None,
        config: Mapping[str, Any],
        output: Path,
    ) -> None:
        """Args: `config` with DebugRuleConfigurations and ProfilerRuleConfigurations of CreateTrainingJob."""
        self._judge = Judge(
            _evaluation(entry, kind)
            for kind, section in SECTIONS.items()
            for entry in _listed(config.get(f"{section}Configurations"))
            if isinstance(entry, dict)
        )
        self._folders = [folder for folder in (tensors, profile) if folder is not None]
        self._reader = TrialReader(tensors, self._judge.distance()) if tensors is not None else None
        self._profiles = ProfileReader(profile) if profile is not None else None
        self._job = job
        self._output = output
        self._series = Series(job)
        self._stop = threading.Event()
        self._complete = False
        self._written: dict[str, str] = {}
        self._last_written = 0.0
        self._unwritten = False

    def stop(self) -> None:
        """End soon: what is unfinished becomes Stopped. Safe in a signal handler."""
        self._stop.set()

    def run(self, *, once: bool = False) -> None:
        """Evaluate until the end."""
        self._write()
        wait = POLL_SECONDS
        while not self._stop.is_set():
            began, cpu = time.monotonic(), time.process_time()
            ended = any((folder / END_FILE).exists() for folder in self._folders)
            new = self._poll(last=ended or once)
            if ended or once:
                # Files that came between the last look and the end file are there now.
                self._poll(last=True)
                self._finish()
                return
            self._unwritten = self._unwritten or new
            # Without news too, now and then: a rule may wait for something that does not come.
            if self._unwritten or time.monotonic() - self._last_written > SILENCE_SECONDS:
                self._refresh()
            used = time.process_time() - cpu
            rest = used / CPU_SHARE - (time.monotonic() - began)
            wait = POLL_SECONDS if self._unwritten or new else min(wait * 1.5, LONGEST_POLL)
            self._stop.wait(max(wait, rest))
        self._write()

    def results(self) -> list[RuleResult]:
        """What came of each rule so far."""
        reason = self._reader.hook_status() if self._reader is not None else None
        self._judge.missing = f"The hook switched itself off: {reason}." if reason else ""
        return list(self._judge.results(complete=self._complete))

    def _poll(self, *, last: bool) -> bool:
        new = False
        if self._reader is not None:
            for observation in self._reader.poll(last=last):
                new = True
                self._series.observe(observation)
                self._judge.observe(observation)
                if self._stop.is_set():
                    return True
                if time.monotonic() - self._last_written > 4 * WRITE_SECONDS:
                    self._refresh()  # a long backlog: show the first findings before it is worked off
        if self._profiles is not None:
            new = self._profiles.poll() or new
        return new

    @property
    def _profile(self) -> Profile:
        return self._profiles.profile if self._profiles is not None else Profile()

    def _refresh(self) -> None:
        if time.monotonic() - self._last_written < WRITE_SECONDS:
            return
        self._unwritten = False
        self._judge.profile(self._profile, ended=False)
        self._write()

    def _finish(self) -> None:
        self._judge.finish()
        self._judge.profile(self._profile, ended=True)
        # A hook that wrote its collections has begun, and so has a profiled job with steps.
        hooked = self._reader is not None and bool(self._reader.collections)
        self._judge.started = self._judge.started or (hooked and self._profiles is None)
        self._complete = True
        self._write()

    # Output

    def _write(self) -> None:
        self._last_written = time.monotonic()
        self._output.mkdir(parents=True, exist_ok=True)
        results = self.results()
        if self._stop.is_set():
            results = [_stopped(result) for result in results]
        problems = list(self._reader.problems) if self._reader is not None else []
        reason = self._reader.hook_status() if self._reader is not None else None
        if reason:
            problems.insert(0, f"The debugger's hook switched itself off: {reason}")
        stopping = self._judge.stopping()
        findings = Findings(
            self._job, self._complete, tuple(results), tuple(problems), stopping[0].name if stopping else ""
        )
        series = self._series.to_dict(self._profile, complete=self._complete)
        # The status last: who waits for its change finds the rest already there.
        for name, text in (
            ("series.json", json.dumps(plain(series), separators=(",", ":"))),
            ("findings.json", findings.to_json()),
            ("status.json", json.dumps(self._status(results), separators=(",", ":"))),
        ):
            if self._written.get(name) != text:
                write_atomically(self._output / name, text)
                self._written[name] = text

    def _status(self, results: list[RuleResult]) -> dict[str, Any]:
        """As DescribeTrainingJob shows it."""
        content: dict[str, Any] = {"StopTrainingJob": self._judge.stopping() is not None}
        for kind, section in SECTIONS.items():
            content[f"{section}EvaluationStatuses"] = [
                {
                    "RuleConfigurationName": result.name,
                    **dict(zip(("RuleEvaluationStatus", "StatusDetails"), aws_status(result), strict=True)),
                    "LastModifiedTime": round(item.modified, 3),
                }
                for item, result in zip(self._judge.evaluations, results, strict=True)
                if item.kind == kind
            ]
        return content


def aws_status(result: RuleResult) -> tuple[str, str]:
    """RuleEvaluationStatus and StatusDetails for an outcome.

    SageMaker has no status for a rule that had too little to judge. NoIssuesFound would claim that all is
    well, so it is Error, as SageMaker itself says where no tensors were saved.
    """
    details = result.summary
    status = str(result.outcome)
    if result.outcome is Outcome.ISSUES_FOUND:
        first = result.findings[0]
        where = f" at step {first.step}" if first.step is not None else ""
        more = f" ({result.total} findings)" if result.total > 1 else ""
        details = (
            f"RuleEvaluationConditionMet: Evaluation of the rule {result.rule}{where} resulted in the "
            f"condition being met{more}. {first.message}"
        )
    elif result.outcome in (Outcome.COULD_NOT_JUDGE, Outcome.ERROR):
        prefix = "Could not judge: " if result.outcome is Outcome.COULD_NOT_JUDGE else ""
        status, details = "Error", f"ClientError: {prefix}{details}"
    elif result.outcome is Outcome.DOES_NOT_APPLY:
        status = "NoIssuesFound"
    elif result.outcome is Outcome.IN_PROGRESS:
        details = ""
    return status, details[:1024]


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _evaluation(entry: Mapping[str, Any], kind: Kind) -> Evaluation:
    raw = entry.get("RuleParameters")
    parameters = raw if isinstance(raw, dict) else {}
    name = str(entry.get("RuleConfigurationName", "")) or "unnamed"
    return Evaluation(name, str(parameters.get("rule_to_invoke", "")), kind, parameters)


def _stopped(result: RuleResult) -> RuleResult:
    if result.outcome is not Outcome.IN_PROGRESS:
        return result
    return RuleResult(
        result.name, result.rule, result.kind, Outcome.STOPPED,
        "The evaluation was stopped before the job had ended.", result.parameters,
    )  # fmt: skip
