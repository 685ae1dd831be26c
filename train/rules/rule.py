"""What every rule is: typed parameters, data in, findings out.

A rule is a small class in a file of its own. It sees the job's data in order, remembers what it needs, and
adds findings. Names, parameters and defaults are AWS's; where a definition would accuse healthy trainings,
the rule's own docstring says what it asks in addition and which parameter returns to the letter.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from train.debug.config import boolean
from train.debug.patterns import PatternError, compile_all

if TYPE_CHECKING:
    import re

    from train.rules.observation import Observation
    from train.rules.profile import Profile

MAX_FINDINGS = 20
# Keys that belong to the platform or to AWS's containers, not to a rule.
PLATFORM_KEYS = frozenset(
    {"rule_to_invoke", "base_trial", "scan_interval_us", "action_json", "stop_training_on_fire"}
    | {"training_job_name_prefix", "training_job_prefix", "opt_out_telemetry", "start_step_rule"}
)
Severity = Literal["high", "medium", "low"]
Default = float | int | bool | str | None


class ParameterError(ValueError):
    """A rule parameter that does not exist or has an impossible value; the message is for the user."""


@dataclass(frozen=True)
class Finding:
    """Something a rule found: where, what and how bad, why it usually happens, what to change."""

    step: int | None
    tensor: str | None
    severity: Severity
    message: str
    cause: str
    remedy: str

    def to_dict(self) -> dict[str, Any]:
        """As it stands in findings.json."""
        return asdict(self)


@dataclass(frozen=True)
class Parameter:
    """A rule parameter: its default gives its type; `least` and `most` bound numbers."""

    default: Default
    least: float | None = None
    most: float | None = None
    # For parameters whose default is None.
    kind: type = str

    def parse(self, name: str, raw: object) -> Default:
        """The value that the API's string stands for."""
        kind = type(self.default) if self.default is not None else self.kind
        text = str(raw).strip()
        if self.default is None and text.lower() in ("", "none", "null"):
            return None
        if kind is bool:
            flag = boolean(text)
            if flag is None:
                raise ParameterError(f"{name}={text!r} must be True or False")
            return flag
        if kind is str:
            return text
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or (kind is int and number != int(number)):
            noun = "whole number" if kind is int else "number"
            raise ParameterError(f"{name}={text!r} must be a {noun}")
        if (self.least is not None and number < self.least) or (self.most is not None and number > self.most):
            bounds = f"from {self.least:g}" + (f" to {self.most:g}" if self.most is not None else "")
            raise ParameterError(f"{name}={text!r} is out of bounds: give a number {bounds}")
        return int(number) if kind is int else number


class Rule:
    """Base of all rules. Subclasses set the class variables and override `observe` or `profile`."""

    name: ClassVar[str]
    source: ClassVar[str]
    looks_for: ClassVar[str]
    needs: ClassVar[str]  # what must have been saved, as the sentence for when it was not
    parameters: ClassVar[Mapping[str, Parameter]] = {}

    def __init__(self, raw: Mapping[str, object] | None = None) -> None:
        given = {str(key): value for key, value in (raw or {}).items()}
        unknown = sorted(set(given) - set(self.parameters) - PLATFORM_KEYS)
        if unknown:
            allowed = ", ".join(sorted(self.parameters)) or "none"
            raise ParameterError(f"{self.name} has no parameter {unknown[0]!r}; it has {allowed}")
        self.values: dict[str, Default] = {
            name: parameter.parse(name, given[name]) if name in given else parameter.default
            for name, parameter in self.parameters.items()
        }
        self.given = given
        self.findings: list[Finding] = []
        self.found = 0
        self.seen = 0  # how much of what it needs a rule has seen
        self.lacking = ""  # why what it has seen is too little, and what would be enough
        self.evidence = ""
        self.stops_job = _stops_job(given)

    def observe(self, step: Observation) -> None:
        """Look at the tensors of one step."""

    def profile(self, profile: Profile) -> None:
        """Look at all timings and system metrics so far."""

    def finish(self) -> None:
        """The job has ended; no more data comes."""

    def undecided(self) -> str:
        """Why it cannot judge, and what would let it; empty where it can. What it found, it found."""
        return self.lacking if self.seen else f"it needs {self.needs}"

    def summary(self) -> str:
        """One sentence of evidence, for a rule that found nothing too."""
        return self.evidence

    def parts(self) -> Sequence[Rule]:
        """The rules that a rule is made of, for the report; most are made of none."""
        return ()

    def add(
        self,
        *,
        message: str,
        cause: str,
        remedy: str,
        severity: Severity = "medium",
        step: int | None = None,
        tensor: str | None = None,
    ) -> None:
        """Record a finding; after the first twenty they are only counted."""
        self.found += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(step, tensor, severity, message, cause, remedy))

    def replace(self, finding: Finding | None) -> None:
        """For rules that judge the whole job anew each time: what holds now is all there is."""
        self.findings = [finding] if finding is not None else []
        self.found = len(self.findings)

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


def _stops_job(given: Mapping[str, object]) -> bool:
    """Whether the rule's configuration asks to stop the job when it fires."""
    if boolean(given.get("stop_training_on_fire", False)):
        return True
    text = str(given.get("action_json", "")).strip()
    if not text or len(text) > 10_000:
        return False
    try:
        actions = json.loads(text)
    except (ValueError, RecursionError):
        raise ParameterError(f"action_json={text[:60]!r} is not JSON") from None
    listed = actions if isinstance(actions, list) else [actions]
    names = [str(action.get("name", "")).lower() for action in listed if isinstance(action, dict)]
    return "stoptraining" in names
