"""What a job's log says: metrics, found as SageMaker finds them, and the debugger's lines."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from contract.findings import Findings, MachineLine, ProgressLine
from contract.metrics import compiled, is_explosive
from report.read import findings
from report.read.toolkit import Preamble

TAIL = 40
LINE_LIMIT = 4_000
"""Characters of a line that are searched: a bound on what a regular expression can cost."""

_STEP = re.compile(r"(?:^|\s)step=(\d{1,12})(?=\s|$)")
_NUMBER = re.compile(r"[-+]?(?:nan|inf(?:inity)?|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)", re.IGNORECASE)


@dataclass
class Metric:
    """One metric over time. `step` and `epoch` are None where the line has none."""

    value: list[float] = field(default_factory=list)
    step: list[int | None] = field(default_factory=list)
    epoch: list[float | None] = field(default_factory=list)

    @property
    def last(self) -> float:
        """What SageMaker takes for the job's; the trainer ends with those of the weights that it kept."""
        return self.value[-1] if self.value else math.nan

    @property
    def last_epoch(self) -> float:
        """The last value whose line has a step or an epoch; the last of all where none has."""
        places = zip(self.value, self.step, self.epoch, strict=True)
        placed = [value for value, step, epoch in places if step is not None or epoch is not None]
        return placed[-1] if placed else self.last


@dataclass
class Log:
    """What the lines say. `tail` has the last ones that are not the debugger's; `losses` are by step."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    findings: Findings | None = None
    losses: dict[int, float] = field(default_factory=dict)
    tail: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    """Why a metric could not be looked for, a sentence for each."""
    lines: int = 0
    truncated: bool = False


class Parser:
    """Finds metrics in lines by (name, regular expression) pairs; the first group is the value."""

    def __init__(self, definitions: Iterable[tuple[str, str]]) -> None:
        self.unusable: list[str] = []
        """Why a metric cannot be looked for, a sentence for each."""
        self._patterns: list[tuple[str, re.Pattern[str]]] = []
        for name, regex in definitions:
            try:
                pattern = compiled(regex)
                why = "some lines would keep it busy for ever" if is_explosive(regex) else ""
            except (re.error, RecursionError, OverflowError) as error:
                why = str(error)
            if why:
                self.unusable.append(f"the regular expression of metric {name!r} cannot be used: {why}")
            else:
                self._patterns.append((name, pattern))

    def parse(self, line: str) -> dict[str, float]:
        """Metric → value; empty for a line that is no metrics line."""
        values: dict[str, float] = {}
        for name, pattern in self._patterns:
            match = pattern.search(line[:LINE_LIMIT])
            if match and match.groups() and match.group(1) and _NUMBER.fullmatch(match.group(1)):
                values[name] = float(match.group(1))
        return values


def step_of(line: str) -> int | None:
    """The training step that a metrics line names."""
    step = _STEP.search(line[:LINE_LIMIT])
    return int(step.group(1)) if step else None


class LogReader:
    """Reads a log line by line, with the job's own MetricDefinitions; `log` is what the lines say so far."""

    def __init__(self, definitions: Iterable[tuple[str, str]]) -> None:
        self._parser, self._preamble = Parser(definitions), Preamble()
        self._own = list[str]()
        self.log = Log(unusable=self._parser.unusable)
        self.machine: list[MachineLine] = []
        self.progress: ProgressLine | None = None

    def take(self, line: str) -> list[str]:
        """Read the next line; returns what a person may want to read of it: nothing, or it."""
        log = self.log
        log.lines += 1
        said = findings.line_of(line)
        shown = self._preamble.take(line) if said is None else []
        self._keep(shown)
        if isinstance(said, MachineLine):
            self.machine.append(said)
            return []
        if said is not None:
            self._own.append(line)
        if isinstance(said, ProgressLine):
            self.progress = said
            if said.loss is not None:
                log.losses[said.step] = said.loss
        values = self._parser.parse(line)
        step = step_of(line) if values else None
        for name, value in values.items():
            metric = log.metrics.setdefault(name, Metric())
            metric.value.append(value)
            metric.step.append(step)
            metric.epoch.append(values.get("epoch"))
        return shown

    def findings(self) -> Findings | None:
        """What the debugger's lines say so far."""
        return findings.of_lines(self._own)

    def end(self) -> Log:
        """After the last line."""
        self.log.findings = self.findings()
        self._keep(self._preamble.end())  # where the script never started
        return self.log

    def _keep(self, lines: list[str]) -> None:
        self.log.tail.extend(lines)
        del self.log.tail[:-TAIL]


def parse_log(lines: Iterable[str], definitions: Iterable[tuple[str, str]]) -> Log:
    """Read a whole log, with the job's own MetricDefinitions."""
    reader = LogReader(definitions)
    for line in lines:
        reader.take(line)
    return reader.end()
