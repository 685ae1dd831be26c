"""What every rule is: typed parameters, data in, findings out.

A rule is a small class in a file of its own. It sees the job's data in order, remembers what it needs, and
adds findings. Names, parameters and defaults are AWS's and stand in `contract.rules`; where a definition
would accuse healthy trainings, the rule's own docstring says what it asks in addition and which parameter
returns to the letter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from contract.findings import Finding, Outcome, Severity
from contract.patterns import PatternError, compile_all
from contract.rules import RULES, Definition, ParameterError, Value, parse_parameters, stops_job
from debugger.observation import Observation
from debugger.profile import Profile

MAX_FINDINGS = 20


@dataclass(frozen=True)
class Plan:
    """What is known of a training before it begins; 0 is not known.

    Attributes:
        steps: training steps in all.
        warmup: of these, so many at the start have a learning rate below the full one.
        evaluations: how often the validation set is looked at.
        joins: the step at which the backbone begins to learn beside a head that has learned alone. From there
            the losses are those of another training, of pictures that are augmented.
    """

    steps: int = 0
    warmup: int = 0
    evaluations: int = 0
    joins: int = 0


class Rule:
    """Base of all rules. Subclasses set the class variables and override `observe` or `profile`."""

    name: ClassVar[str]
    needs: ClassVar[str]  # what must have been looked at, as the sentence for when it was not
    definition: ClassVar[Definition]

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):
            cls.definition = RULES[cls.name]

    def __init__(self, raw: Mapping[str, object] | None = None, plan: Plan | None = None) -> None:
        self.chosen: Mapping[str, object] = {str(key): value for key, value in (raw or {}).items()}
        self.values: dict[str, Value] = parse_parameters(self.definition, self.chosen)
        self.stops_job = stops_job(self.chosen)
        self.plan = plan or Plan()
        self.findings: list[Finding] = []
        self.total = 0  # findings, those too many to keep included
        self.seen = 0  # steps, tensors or samples judged so far
        self.lacking = ""  # why that is too little for a verdict, and what would be enough
        self.evidence = ""

    def observe(self, step: Observation) -> None:
        """Look at the tensors of one step."""

    def profile(self, profile: Profile) -> None:
        """Look at all timings and system metrics so far."""

    def finish(self) -> None:
        """The job has ended; no more data comes."""

    @property
    def confirmed(self) -> bool:
        """Whether the rule's findings are certain enough to end the job for them."""
        return bool(self.findings)

    def inapplicable(self) -> str:
        """Why the rule does not concern this job, as a sentence; empty where it does."""
        return ""

    def undecided(self) -> str:
        """Why the rule cannot judge, and what would let it; empty where it can."""
        return self.lacking if self.seen else f"it needs {self.needs}"

    def summary(self) -> str:
        """One sentence of evidence, for a rule that found nothing too."""
        return self.evidence

    def parts(self) -> Sequence[Rule]:
        """The rules that a rule is made of, for the report; most are made of none."""
        return ()

    def verdict(self) -> tuple[Outcome, str]:
        """The outcome if the job ended now, and the evidence. Findings already made still count."""
        if self.findings:
            return Outcome.ISSUES_FOUND, self.summary()
        if reason := self.inapplicable():
            return Outcome.DOES_NOT_APPLY, reason
        if reason := self.undecided():
            return Outcome.COULD_NOT_JUDGE, f"{reason[:1].upper()}{reason[1:]}."
        return Outcome.NO_ISSUES, self.summary()

    def add(
        self,
        *,
        message: str,
        cause: str,
        remedy: str,
        severity: Severity = "medium",
        step: int | None = None,
        tensor: str | None = None,
    ) -> Finding:
        """Record a finding; after the first twenty they are only counted."""
        finding = Finding(step, tensor, severity, message, cause, remedy)
        self.total += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        return finding

    def withdraw(self, finding: Finding) -> None:
        """Take back a finding that the rest of the job has refuted."""
        self.findings = [item for item in self.findings if item is not finding]
        self.total -= 1

    def replace(self, finding: Finding | None) -> None:
        """For rules that judge the whole job anew each time: what holds now is all there is."""
        self.findings = [finding] if finding is not None else []
        self.total = len(self.findings)

    def number(self, name: str) -> float:
        """A numeric parameter."""
        value = self.values[name]
        if not isinstance(value, (int, float)):
            raise ParameterError(f"{name} must be a number")
        return float(value)

    def integer(self, name: str) -> int:
        """A whole-number parameter."""
        return int(self.number(name))

    def text(self, name: str) -> str:
        """A text parameter, empty where it is None."""
        value = self.values[name]
        return "" if value is None else str(value)

    def patterns(self, name: str) -> list[re.Pattern[str]]:
        """A parameter that holds a comma-separated list of regexes."""
        try:
            return compile_all(part.strip() for part in self.text(name).split(",") if part.strip())
        except PatternError as error:
            raise ParameterError(f"{name}: {error}") from None
