"""All rules of a job together: what they are shown, and what came of each.

A rule that breaks on unexpected data does not take the others with it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from contract.debugger import Configuration
from contract.findings import Finding, Outcome, Part, RuleResult
from contract.rules import Kind, ParameterError
from debugger.observation import Observation
from debugger.profile import Profile
from debugger.rules.registry import make
from debugger.rules.rule import Plan, Rule
from debugger.rules.weight_update_ratio import WeightUpdateRatio

log = logging.getLogger("train.debugger")
T = TypeVar("T")

NO_STEP = "No step was recorded: the job ended before its first one, or its program does not run the hook."
# A finding of a profiler rule is judged anew each time, and news once it has held so often.
LASTING = 3


class Evaluation:
    """One rule under the name of its configuration."""

    def __init__(
        self,
        name: str,
        rule_name: str,
        kind: Kind,
        parameters: Mapping[str, object],
        plan: Plan | None = None,
    ) -> None:
        self.name, self.rule_name, self.kind = name, rule_name, kind
        self.rule: Rule | None = None
        self.error = ""
        self.modified = time.time()
        self._reported: list[Finding] = []
        self._held: dict[str | None, int] = {}
        try:
            self.rule = make(rule_name, parameters, plan)
            self.rule_name = self.rule.name
        except ParameterError as error:
            self.error = str(error)

    @property
    def stops_for(self) -> Finding | None:
        """The finding for which the rule is to end the job, if it has fired and is certain."""

        def ask(rule: Rule) -> Finding | None:
            # A copy: the thread that judges the profile replaces its rules' findings at any moment.
            findings = list(rule.findings) if rule.stops_job else []
            return findings[-1] if findings and rule.confirmed else None

        return self.run(ask)

    def run(self, action: Callable[[Rule], T]) -> T | None:
        """Show the rule something, or ask it; one that fails is not asked again."""
        rule = self.rule
        if rule is None:
            return None
        try:
            return action(rule)
        except Exception as error:
            self.error = f"The rule failed, a fault of the program: {type(error).__name__}: {error}"
            log.warning("rule %s: %s", self.name, self.error)
            self.rule = None
            self.modified = time.time()
            return None

    def news(self, *, final: bool) -> list[Finding]:
        """Findings that were not reported before."""
        if self.rule is None:
            return []
        findings = self.rule.findings
        if self.kind == "profiler":
            held = {item.tensor: self._held.get(item.tensor, 0) + 1 for item in findings}
            fresh = [item for item in findings if held[item.tensor] == LASTING]
            if final:
                fresh = [item for item in findings if held[item.tensor] <= LASTING]
            reported = {tensor: count for tensor, count in self._held.items() if count >= LASTING}
            self._held = {**held, **reported}
        else:
            fresh = [
                item
                for item in findings
                if not any(item is reported_item for reported_item in self._reported)
            ]
            self._reported += fresh
        if fresh:
            self.modified = time.time()
        return fresh

    def result(self, *, complete: bool, started: bool = True, missing: str = "") -> RuleResult:
        """What came of the rule so far.

        Args:
            complete: the job is over.
            started: whether anything of any step was recorded; if not, no setting of a rule is to blame.
            missing: why tensors are missing, where that is known.
        """
        result = self.run(lambda rule: self._judged(rule, complete, started, missing))
        return result or RuleResult(self.name, self.rule_name, self.kind, Outcome.ERROR, self.error)

    def _judged(self, rule: Rule, complete: bool, started: bool, missing: str) -> RuleResult:
        outcome, summary = rule.verdict()
        if outcome is Outcome.COULD_NOT_JUDGE and not rule.seen:
            summary = summary if started or missing else NO_STEP
            summary = f"{summary} {missing}".strip() if self.kind == "debugger" else summary
        if not complete and outcome is not Outcome.ISSUES_FOUND:
            outcome = Outcome.IN_PROGRESS
        return RuleResult(
            name=self.name,
            rule=rule.name,
            kind=self.kind,
            outcome=outcome,
            summary=summary,
            parameters=dict(rule.values),
            total=rule.total,
            findings=tuple(rule.findings),
            parts=tuple(_part(part) for part in rule.parts()),
        )


def _part(rule: Rule) -> Part:
    outcome, summary = rule.verdict()
    return Part(rule.name, outcome, summary, rule.total, dict(rule.values))


News = tuple[Evaluation, Finding]


class Judge:
    """Shows observations and profiles to the rules, and collects what they find."""

    def __init__(self, evaluations: Iterable[Evaluation]) -> None:
        self.evaluations = list(evaluations)
        self.started = False  # whether anything of any step was recorded
        self.missing = ""  # why tensors are missing, where that is known

    @classmethod
    def of(cls, configuration: Configuration, plan: Plan) -> Judge:
        """The rules that a training's configuration names."""
        stopping = configuration.stopping_rules()
        parameters = {name.lower(): values for name, values in configuration.parameters.items()}
        evaluations: dict[str, Evaluation] = {}
        sections: tuple[tuple[Kind, bool, tuple[str, ...]], ...] = (
            ("debugger", configuration.enabled, configuration.rules),
            ("profiler", configuration.profile, configuration.profiler_rules),
        )
        for kind, wanted, names in sections:
            for name in names if wanted else ():
                chosen = {**parameters.get(name.lower(), {})}
                if name.lower() in stopping:
                    chosen["stop_training_on_fire"] = True
                evaluation = Evaluation(name, name, kind, chosen, plan)
                evaluations.setdefault(evaluation.rule_name, evaluation)
        return cls(evaluations.values())

    def stopping(self) -> News | None:
        """A rule that is to end the job, and the finding for which."""
        for item in self.evaluations:
            if (finding := item.stops_for) is not None:
                return item, finding
        return None

    def distance(self) -> int:
        """How many steps lie between the weights that are compared, at least."""
        rules = (item.rule for item in self.evaluations)
        return max((rule.distance for rule in rules if isinstance(rule, WeightUpdateRatio)), default=1)

    def observe(self, observation: Observation) -> list[News]:
        """Show one step to the debugger's rules; returns what they find in it."""
        self.started = True
        for item in self._of_kind("debugger"):
            item.run(lambda rule: rule.observe(observation))
        return self._news("debugger")

    def profile(self, profile: Profile, *, ended: bool) -> list[News]:
        """Show the profiler's rules all timings and samples so far."""
        profile.now, profile.ended = time.time(), ended
        self.started = self.started or bool(profile.steps)
        for item in self._of_kind("profiler"):
            item.run(lambda rule: rule.profile(profile))
        return self._news("profiler", final=ended)

    def finish(self) -> list[News]:
        """The job is over."""
        for item in self.evaluations:
            item.run(lambda rule: rule.finish())
        return self._news("debugger")

    def results(self, *, complete: bool) -> tuple[RuleResult, ...]:
        """What came of each rule."""
        return tuple(
            item.result(complete=complete, started=self.started, missing=self.missing)
            for item in self.evaluations
        )

    def _of_kind(self, kind: str) -> list[Evaluation]:
        return [item for item in self.evaluations if item.kind == kind]

    def _news(self, kind: str, *, final: bool = False) -> list[News]:
        return [(item, finding) for item in self._of_kind(kind) for finding in item.news(final=final)]
