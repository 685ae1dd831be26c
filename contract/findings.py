"""What the debugger reports: findings and verdicts, in files, and as lines of the job's log.

`findings.json` is complete at any moment. While the job runs, its log has a line for each finding when it is
made, one where a rule ends the training, one for each verdict at the end, and the progress and the machine's
use at most once a second:

    debugger.finding {"rule": "LossNotDecreasing", "step": 100, …}
    debugger.stop {"rule": "LossNotDecreasing", "step": 120, …}
    debugger.verdict {"rule": "LossNotDecreasing", "outcome": "IssuesFound", …}
    progress {"epoch": 3, "step": 120, "steps": 400, "loss": 0.41, …}
    machine {"time": 1733000000.5, "cpu": 93.1, "memory": 41.0, …}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Final, Literal, Self

SCHEMA: Final = 2
LONGEST_LINE: Final = 65_536  # characters; one that long is none of ours
LARGEST_NUMBER: Final = 2.0**53  # of steps and the like; no float can hold what is above
Severity = Literal["high", "medium", "low"]
SEVERITIES: Final = ("high", "medium", "low")


class Outcome(StrEnum):
    """What came of one rule. The first four are verdicts."""

    ISSUES_FOUND = "IssuesFound"
    NO_ISSUES = "NoIssuesFound"
    COULD_NOT_JUDGE = "CouldNotJudge"  # what it needs was not there, or not enough of it
    DOES_NOT_APPLY = "DoesNotApply"  # it does not concern this training, e.g. there is no GPU
    ERROR = "Error"  # the rule itself failed, or its parameters are wrong
    IN_PROGRESS = "InProgress"
    STOPPED = "Stopped"

    @property
    def is_final(self) -> bool:
        """Whether the rule looks no further."""
        return self is not Outcome.IN_PROGRESS


@dataclass(frozen=True)
class Finding:
    """Something that a rule found: where, what and how bad, why it usually happens, what to change."""

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
class FindingLine:
    """A finding as a line of the log."""

    rule: str
    step: int | None = None
    tensor: str | None = None
    severity: Severity = "medium"
    message: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class VerdictLine:
    """A rule's outcome as a line of the log, when the training is over."""

    rule: str
    outcome: str = Outcome.IN_PROGRESS
    summary: str = ""
    total: int = 0
    """How many findings."""


@dataclass(frozen=True)
class StopLine:
    """A rule ends the training after this step; `message` is the finding that it does so for."""

    rule: str
    step: int | None = None
    message: str = ""


@dataclass(frozen=True)
class ProgressLine:
    """How far the training is.

    Attributes:
        epoch, epochs: the running epoch, counted from 1, and how many there are.
        step, steps: training steps that are done, and how many there are.
        loss: of step `step`, one batch.
        images_per_second: in this epoch so far.
        seconds_left: of the training, evaluations included; None while it is not known.
    """

    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    images_per_second: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class MachineLine:
    """How busy the first host's machine is, in percent; None for what it does not have.

    Attributes:
        time: epoch seconds.
        cpu, io_wait, gpu, gpu_memory: means over its cores and GPUs.
    """

    time: float = 0.0
    cpu: float | None = None
    memory: float | None = None
    io_wait: float | None = None
    gpu: float | None = None
    gpu_memory: float | None = None


Line = FindingLine | StopLine | VerdictLine | ProgressLine | MachineLine
_PREFIXES: Final[dict[str, type[Line]]] = {
    "debugger.finding ": FindingLine,
    "debugger.stop ": StopLine,
    "debugger.verdict ": VerdictLine,
    "progress ": ProgressLine,
    "machine ": MachineLine,
}


def format_line(line: Line) -> str:
    """One line of text that `parse_line` reads back. Texts that would make it too long are cut."""
    prefix = next(prefix for prefix, kind in _PREFIXES.items() if isinstance(line, kind))
    values = {
        name: value[:1500] if isinstance(value, str) else value
        for name, value in plain(asdict(line)).items()
        if value is not None
    }
    return prefix + json.dumps(values)


def parse_line(text: str) -> Line | None:
    """What a line of the log says, if it is one of ours; None for any other, and for one that is damaged."""
    for prefix, kind in _PREFIXES.items():
        if text.startswith(prefix) and len(text) <= LONGEST_LINE:
            try:
                content = json.loads(text.removeprefix(prefix))
            except (ValueError, RecursionError):
                return None
            return _build(kind, content)
    return None


def _build(kind: type[Line], content: Any) -> Line | None:
    if not isinstance(content, dict):
        return None
    values: dict[str, Any] = {}
    for item in fields(kind):
        value = content.get(item.name)
        if value is None:
            continue
        wanted = str(item.type)
        is_number = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) <= LARGEST_NUMBER  # which NaN is not either
        )
        if (("str" in wanted or "Severity" in wanted) and isinstance(value, str)) or (
            is_number and ("float" in wanted or isinstance(value, int)) and "str" not in wanted
        ):
            values[item.name] = value
        else:
            return None
    if values.get("severity", "medium") not in SEVERITIES or (
        kind not in (ProgressLine, MachineLine) and not values.get("rule")
    ):
        return None
    return kind(**values)


@dataclass(frozen=True)
class Part:
    """One of the rules that ProfilerReport is made of."""

    rule: str
    outcome: Outcome
    summary: str = ""
    total: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RuleResult:
    """What one rule did.

    Attributes:
        name: the rule configuration's name; for rules in the training container, the rule's.
        rule: the rule's name.
        kind: debugger or profiler.
        summary: the evidence in a sentence, also of a rule that found nothing.
        total: how many findings; `findings` holds the first of them.
    """

    name: str
    rule: str
    kind: str
    outcome: Outcome
    summary: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    total: int = 0
    findings: tuple[Finding, ...] = ()
    parts: tuple[Part, ...] = ()

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """From findings.json, which may come from anywhere: ValueError for what is not of that form."""
        return cls(
            name=_text(raw, "name"),
            rule=_text(raw, "rule"),
            kind=_text(raw, "kind"),
            outcome=Outcome(raw.get("outcome", "")),
            summary=_text(raw, "summary"),
            parameters=_table(raw.get("parameters")),
            total=_count(raw.get("total")),
            findings=tuple(_finding(item) for item in _listed(raw.get("findings"))[:1000]),
            parts=tuple(
                Part(
                    rule=_text(item, "rule"),
                    outcome=Outcome(item.get("outcome", "")),
                    summary=_text(item, "summary"),
                    total=_count(item.get("total")),
                    parameters=_table(item.get("parameters")),
                )
                for item in _listed(raw.get("parts"))[:100]
            ),
        )


@dataclass(frozen=True)
class Findings:
    """findings.json.

    Attributes:
        complete: the training is over, and the outcomes are final.
        problems: what makes the debugger's part incomplete.
        stopped_by, stopped_at: the rule that ended the training, and after which step.
    """

    job: str = ""
    complete: bool = False
    rules: tuple[RuleResult, ...] = ()
    problems: tuple[str, ...] = ()
    stopped_by: str = ""
    stopped_at: int | None = None

    def to_json(self) -> str:
        """The file's content. NaN and infinity, which JSON does not know, become null."""
        return json.dumps(plain({"schema": SCHEMA, **asdict(self)}), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """From the file's content. Raises ValueError where it is not of that form."""
        if raw.get("schema") != SCHEMA:
            raise ValueError(f"its schema is {raw.get('schema')!r}, and only {SCHEMA} can be read")
        return cls(
            job=_text(raw, "job"),
            complete=raw.get("complete") is True,
            rules=tuple(RuleResult.from_dict(item) for item in _listed(raw.get("rules"))[:1000]),
            problems=tuple(str(item) for item in _list(raw.get("problems"))[:100]),
            stopped_by=_text(raw, "stopped_by"),
            stopped_at=_step(raw.get("stopped_at")),
        )


def plain(value: Any) -> Any:
    """The value with None in the place of NaN and infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _finding(raw: Mapping[str, Any]) -> Finding:
    tensor, severity = raw.get("tensor"), raw.get("severity")
    if severity not in SEVERITIES:
        raise ValueError(f"a finding has the severity {severity!r}")
    return Finding(
        step=_step(raw.get("step")),
        tensor=tensor if isinstance(tensor, str) else None,
        severity=severity,
        message=_text(raw, "message"),
        cause=_text(raw, "cause"),
        remedy=_text(raw, "remedy"),
    )


def _text(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"{key} is {value!r}, not a text")
    return value


def _step(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value <= LARGEST_NUMBER else None


def _count(value: Any) -> int:
    return _step(value) or 0


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _listed(value: Any) -> list[Mapping[str, Any]]:
    items = _list(value)
    if not all(isinstance(item, Mapping) for item in items):
        raise ValueError("an entry is not an object")
    return items
