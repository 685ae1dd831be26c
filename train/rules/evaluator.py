"""Runs all of a job's rules in one process while the job runs, and writes what they find.

Each tensor is read once and reduced to its statistics once, whatever the number of rules. Everything that is
written appears whole: a reader never sees half a file.
"""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.rules.job import Job
from train.rules.profile import Profile, ProfileReader
from train.rules.reader import END_FILE, TrialReader
from train.rules.registry import make
from train.rules.rule import ParameterError, Rule
from train.rules.series import Series
from train.rules.source import Source

log = logging.getLogger("train.rules")

POLL_SECONDS = 1.0
# Polls that find nothing come further and further apart.
LONGEST_POLL = 5.0
# Judging the whole profile anew and writing everything is what costs; not more often than this.
WRITE_SECONDS = 2.0
SILENCE_SECONDS = 30.0
# This share of one core at most, over time.
CPU_SHARE = 0.35
SOURCE_FAILURES = 20
# SageMaker has no status for a rule that had too little to judge. NoIssuesFound would claim that all is well,
# so it is Error, as SageMaker itself says where no tensors were saved, and the details begin like this.
COULD_NOT_JUDGE = "ClientError: Could not judge: "
NO_STEP = "no step was recorded, as the job ended before its first one or its program does not run the hook"


class SourceError(Exception):
    """The tensors or timings cannot be read, and trying again did not help; the message says why."""


class Evaluation:
    """One entry of DebugRuleConfigurations or ProfilerRuleConfigurations."""

    def __init__(self, configuration: Mapping[str, Any], section: str) -> None:
        self.name = str(configuration.get("RuleConfigurationName", "")) or "unnamed"
        self.section = section
        self.status = "InProgress"
        self.details = ""
        self.modified = time.time()
        self.rule: Rule | None = None
        self._stepped = True
        raw = configuration.get("RuleParameters")
        parameters = raw if isinstance(raw, dict) else {}
        try:
            self.rule = make(parameters)
        except ParameterError as error:
            self.set("Error", f"ClientError: {error}")
        self.asked = str(parameters.get("rule_to_invoke", ""))

    def set(self, status: str, details: str) -> bool:
        """Change the status; returns whether it is a change."""
        details = details[:1024]
        if (status, details) == (self.status, self.details):
            return False
        if status != self.status:
            self.modified = time.time()
        self.status, self.details = status, details
        return True

    def fail(self, error: Exception) -> None:
        """A rule that breaks on unexpected data must not take the others with it."""
        log.warning("rule %s: %s: %s", self.name, type(error).__name__, error)
        self.rule = None
        self.set("Error", f"InternalServerError: {type(error).__name__}: {error}")

    def refresh(self) -> None:
        """Found issues show at once; the rest stays in progress until the end."""
        rule = self.rule
        if rule is None:
            return
        if rule.findings:
            worst = rule.findings[0]
            where = f" at step {worst.step}" if worst.step is not None else ""
            more = f" ({rule.found} findings)" if rule.found > 1 else ""
            self.set(
                "IssuesFound",
                f"RuleEvaluationConditionMet: Evaluation of the rule {rule.name}{where} resulted in the "
                f"condition being met{more}. {worst.message}",
            )
        else:
            self.set("InProgress", "")

    def end(self, missing: str | None, *, stepped: bool = True) -> None:
        """The job is over: the final verdict.

        Args:
            missing: why tensors are missing, if that is known.
            stepped: whether anything of any step was recorded; if not, no setting of a rule is to blame.
        """
        if self.rule is None:
            return
        self._stepped = stepped or bool(missing)
        self.refresh()
        if self.status == "IssuesFound":
            return
        if undecided := self._undecided(self.rule):
            reason = f" {missing}" if missing and self.section == "debugger" and not self.rule.seen else ""
            self.set("Error", f"{COULD_NOT_JUDGE}{undecided}.{reason}")
        else:
            self.set("NoIssuesFound", self.rule.summary())

    def _undecided(self, rule: Rule) -> str:
        undecided = rule.undecided()
        return undecided if self._stepped or rule.seen or not undecided else NO_STEP

    def _summary(self) -> str:
        if self.rule is None or self.status == "Error":
            return self.details
        if self.status != "IssuesFound" and (undecided := self.rule.undecided()):
            return f"Too little so far: {undecided}."
        return self.rule.summary()

    def to_status(self) -> dict[str, Any]:
        """As DescribeTrainingJob shows it."""
        return {
            "RuleConfigurationName": self.name,
            "RuleEvaluationStatus": self.status,
            "StatusDetails": self.details,
            "LastModifiedTime": round(self.modified, 3),
        }

    def to_findings(self) -> dict[str, Any]:
        """As findings.json holds it."""
        rule = self.rule
        return {
            "RuleConfigurationName": self.name,
            "Rule": rule.name if rule is not None else self.asked,
            "RuleEvaluationStatus": self.status,
            "Parameters": dict(rule.values) if rule is not None else {},
            "Summary": self._summary(),
            "Description": f"Looks for {rule.looks_for}." if rule is not None else "",
            "Source": rule.source if rule is not None else "",
            "FindingsTotal": rule.found if rule is not None else 0,
            "Findings": [finding.to_dict() for finding in rule.findings] if rule is not None else [],
            "Parts": [
                {
                    "Rule": part.name,
                    "Found": part.found,
                    "Seen": part.seen,
                    "Summary": f"Could not judge: {self._undecided(part)}."
                    if part.undecided() and not part.found
                    else part.summary(),
                    "Parameters": dict(part.values),
                }
                for part in (rule.parts() if rule is not None else ())
            ],
        }


class Evaluator:
    """Follows one job. `run` returns when the job has ended, `stop` was called, or at once with `once`."""

    def __init__(
        self,
        job: str,
        tensors: Source | None,
        profile: Source | None,
        config: Mapping[str, Any],
        output: Path,
        watched: Job | None = None,
    ) -> None:
        self._watched = watched
        self._tensors, self._profile_source = tensors, profile
        self._reader = (
            TrialReader(tensors.folder, delete_read=tensors.copied) if tensors is not None else None
        )
        self._profiles = ProfileReader(profile.folder) if profile is not None else None
        self._no_profile = Profile()
        self._job = job
        self._output = output
        self._series = Series(job)
        self._stop = threading.Event()
        self._written: dict[str, str] = {}
        self._last_written = 0.0
        self._unwritten = False
        self._stepped = False
        self._failures = 0
        self.evaluations = [
            Evaluation(entry, section)
            for key, section in (
                ("DebugRuleConfigurations", "debugger"),
                ("ProfilerRuleConfigurations", "profiler"),
            )
            for entry in (config.get(key) or [])
            if isinstance(entry, dict)
        ]

    def stop(self) -> None:
        """End soon: what is unfinished becomes Stopped. Safe in a signal handler."""
        self._stop.set()

    def run(self, *, once: bool = False) -> None:
        """Evaluate until the end. Raises `SourceError`, with every unfinished rule set to Error."""
        try:
            self._run(once=once)
        except SourceError as error:
            self._end_unfinished("Error", f"ClientError: {error}")
            raise

    def _run(self, *, once: bool) -> None:
        self._write(complete=False)
        wait = POLL_SECONDS
        while not self._stop.is_set():
            began, cpu = time.monotonic(), time.process_time()
            ended = self._ended()
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
        self._end_unfinished("Stopped", "The evaluation was stopped before the job had ended.")

    def _end_unfinished(self, status: str, details: str) -> None:
        for evaluation in self.evaluations:
            if evaluation.status == "InProgress":
                evaluation.set(status, details)
        self._write(complete=False)

    def _poll(self, *, last: bool) -> bool:
        self._sync()
        new = False
        if self._reader is not None:
            for observation in self._reader.poll(last=last):
                new = self._stepped = True
                self._series.observe(observation)
                for evaluation in self.evaluations:
                    if evaluation.section == "debugger" and evaluation.rule is not None:
                        try:
                            evaluation.rule.observe(observation)
                        except Exception as error:
                            evaluation.fail(error)
                if self._stop.is_set():
                    return True
                if time.monotonic() - self._last_written > 4 * WRITE_SECONDS:
                    self._refresh()  # a long backlog: show the first findings before it is worked off
        if self._profiles is not None:
            new = self._profiles.poll() or new
        return new

    def _sync(self) -> None:
        for source in (self._tensors, self._profile_source):
            if source is None:
                continue
            try:
                source.sync()
                self._failures = 0
            except Exception as error:
                self._failures += 1
                if self._failures == 1:
                    log.warning("cannot read from S3, trying again: %s", error)
                if self._failures >= SOURCE_FAILURES:
                    raise SourceError(f"S3 could not be read {self._failures} times: {error}") from error

    def _ended(self) -> bool:
        folders = [source.folder for source in (self._tensors, self._profile_source) if source is not None]
        if any((folder / END_FILE).exists() for folder in folders):
            return True
        return self._watched is not None and self._watched.ended()

    def _refresh(self) -> None:
        if time.monotonic() - self._last_written < WRITE_SECONDS:
            return
        self._unwritten = False
        self._judge_profile(ended=False)
        for evaluation in self.evaluations:
            evaluation.refresh()
        self._write(complete=False)

    def _judge_profile(self, *, ended: bool) -> None:
        profile = self._profiles.profile if self._profiles is not None else self._no_profile
        profile.now, profile.ended = time.time(), ended
        for evaluation in self.evaluations:
            if evaluation.section == "profiler" and evaluation.rule is not None:
                try:
                    evaluation.rule.profile(profile)
                except Exception as error:
                    evaluation.fail(error)

    def _finish(self) -> None:
        for evaluation in self.evaluations:
            if evaluation.rule is not None:
                try:
                    evaluation.rule.finish()
                except Exception as error:
                    evaluation.fail(error)
        self._judge_profile(ended=True)
        missing = None
        if self._reader is not None:
            reason = self._reader.hook_status()
            missing = f"The hook switched itself off: {reason}." if reason else None
        hooked = self._reader is not None and bool(self._reader.collections)
        stepped = self._stepped or (bool(self._profiles.profile.steps) if self._profiles else hooked)
        for evaluation in self.evaluations:
            evaluation.end(missing, stepped=stepped)
        self._write(complete=True)

    # Output

    def status(self) -> dict[str, Any]:
        """status.json."""
        stop = any(
            evaluation.rule is not None and evaluation.rule.stops_job and evaluation.status == "IssuesFound"
            for evaluation in self.evaluations
        )
        sections: dict[str, list[dict[str, Any]]] = {"debugger": [], "profiler": []}
        for evaluation in self.evaluations:
            sections[evaluation.section].append(evaluation.to_status())
        return {
            "DebugRuleEvaluationStatuses": sections["debugger"],
            "ProfilerRuleEvaluationStatuses": sections["profiler"],
            "StopTrainingJob": stop,
        }

    def findings(self) -> dict[str, Any]:
        """findings.json."""
        problems = list(self._reader.problems) if self._reader is not None else []
        reason = self._reader.hook_status() if self._reader is not None else None
        if reason:
            problems.insert(0, f"The debugger's hook switched itself off: {reason}")
        return {
            "schema": 1,
            "job": self._job,
            "problems": problems,
            "rules": [evaluation.to_findings() for evaluation in self.evaluations],
        }

    def _write(self, *, complete: bool) -> None:
        self._last_written = time.monotonic()
        self._output.mkdir(parents=True, exist_ok=True)
        profile = self._profiles.profile if self._profiles is not None else self._no_profile
        series = self._series.to_dict(profile, complete=complete)
        status = self.status()
        if status["StopTrainingJob"] and self._watched is not None:
            self._watched.stop()
        # The status last: who waits for its change finds the rest already there.
        for name, content in (
            ("series.json", series),
            ("findings.json", self.findings()),
            ("status.json", status),
        ):
            text = json.dumps(_plain(content), separators=(",", ":"), allow_nan=False)
            if self._written.get(name) == text:
                continue
            aside = self._output / f".{name}.{os.getpid()}"
            aside.write_text(text)
            aside.replace(self._output / name)
            self._written[name] = text


def _plain(value: Any) -> Any:
    """JSON knows no NaN and no infinity: None takes their place."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
