"""A running job in the terminal: its curves as they grow, and findings the moment that rules make them.

The curves come from the log's metrics and from the rules' `series.json`, which holds the loss by step; the
findings come from their `findings.json`. Both lie in S3 beside the job's output, also on AWS.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from scripts.aws import Clients

LOOK_SECONDS = 2.0
LIMIT = 16 * 2**20  # bytes of one file that are read
# A braille character has 2 by 4 dots; the bit of each, by column and row from the top.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
DECADES = 30.0


@dataclass(frozen=True)
class Found:
    """One finding of one rule."""

    rule: str
    where: str
    severity: str
    message: str
    remedy: str


@dataclass
class Watch:
    """What a job's rules have written so far; looks every `LOOK_SECONDS` at most."""

    clients: Clients
    folder: str
    """S3 address of the rules' output; empty for a job without a debugger: then there is nothing to see."""
    loss: list[tuple[float, float]] = field(default_factory=list)
    _seen: set[tuple[str, str]] = field(default_factory=set)
    _stamps: dict[str, str] = field(default_factory=dict)
    _looked: float = -math.inf

    def look(self, *, now: bool = False) -> list[Found]:
        """What is new. Errors are silence: this is only a look, the verdicts come by the API."""
        if not self.folder or (not now and time.monotonic() - self._looked < LOOK_SECONDS):
            return []
        self._looked = time.monotonic()
        series = self._read("series.json")
        if series is not None:
            self.loss = _training_loss(series)
        findings = self._read("findings.json")
        return [] if findings is None else list(self._new(findings))

    def _read(self, name: str) -> Mapping[str, Any] | None:
        """The file, if it has changed."""
        from botocore.exceptions import BotoCoreError, ClientError

        from scripts.report.artifacts import Unreadable, parse_json, split_s3

        bucket, key = split_s3(f"{self.folder}/{name}")
        try:
            head = self.clients.s3.head_object(Bucket=bucket, Key=key)
            stamp = f"{head['ETag']} {head['LastModified']}"
            if self._stamps.get(name) == stamp or head["ContentLength"] > LIMIT:
                return None
            body = self.clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read(LIMIT)
            self._stamps[name] = stamp
            return parse_json(body, name)
        except (ClientError, BotoCoreError, Unreadable):
            return None

    def _new(self, findings: Mapping[str, Any]) -> Iterator[Found]:
        for problem in _listed(findings.get("problems")):
            if ("", str(problem)) not in self._seen:
                self._seen.add(("", str(problem)))
                yield Found("debugger", "", "medium", str(problem), "")
        for rule in filter(_is_mapping, _listed(findings.get("rules"))):
            if _listed(rule.get("Parts")):
                continue  # ProfilerReport repeats what the rules that it is made of say
            name = str(rule.get("Rule") or rule.get("RuleConfigurationName") or "")
            for item in filter(_is_mapping, _listed(rule.get("Findings"))):
                # A rule that judges the whole job anew words its finding a little differently each time.
                key = (name, str(item.get("step")) if item.get("tensor") else "")
                if key in self._seen:
                    continue
                self._seen.add(key)
                step = f"step {item['step']}" if item.get("step") is not None else ""
                where = ", ".join(part for part in (step, str(item.get("tensor") or "")) if part)
                severity, message = str(item.get("severity", "medium")), str(item.get("message", ""))
                yield Found(name, where, severity, message, str(item.get("remedy") or ""))


def rules_folder(job: Mapping[str, Any]) -> str:
    """S3 address of what the rules of a described job write; empty where there is none."""
    for block in ("DebugHookConfig", "ProfilerConfig"):
        root = (job.get(block) or {}).get("S3OutputPath")
        if root:  # rules may run as a processing job of their own
            return f"{str(root).rstrip('/')}/{job['TrainingJobName']}/rule-output"
    return ""


def _training_loss(series: Mapping[str, Any]) -> list[tuple[float, float]]:
    best: list[tuple[float, float]] = []
    losses = series.get("losses")
    for modes in filter(_is_mapping, losses.values() if isinstance(losses, dict) else ()):
        curve = modes.get("TRAIN") or modes.get("GLOBAL")
        if _is_mapping(curve):
            pairs = zip(_listed(curve.get("step")), _listed(curve.get("value")), strict=False)
            points = [
                (float(step), float(value) if isinstance(value, int | float) else math.nan)
                for step, value in pairs
                if isinstance(step, int | float)
            ]
            best = max(best, points, key=len)
    return best


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict)


@dataclass
class Curve:
    """One line of a chart."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]


def plot(title: str, curves: Sequence[Curve], width: int, height: int = 8, *, share: bool = False) -> Any:
    """A chart of braille dots as rich text, `width` characters wide: y axis, curves, steps below.

    Logarithmic where the values span decades. Values that are no numbers are left out of the line and told
    in the title.
    """
    from rich.text import Text

    text = Text(no_wrap=True)
    text.append(title, style="bold")
    for curve in curves:
        text.append(f"  ━ {curve.name}", style=curve.style)
    every = [point for curve in curves for point in curve.points]
    finite = [(x, y) for x, y in every if math.isfinite(y)]
    if len(finite) < len(every):
        text.append(f"  {len(every) - len(finite)} not a number", style="bold red")
    if len(finite) < 2:
        text.append("\nnothing to draw yet", style="dim")
        return text
    values = [y for _, y in finite]
    low, high = min(values), max(values)
    log = not share and low > 0 and high / low > DECADES
    scale = math.log10 if log else float
    bottom, top = scale(low), scale(high)
    if share:
        bottom, top = 0.0, 1.0
    top = top if top > bottom else bottom + 1.0
    first, last = min(x for x, _ in finite), max(x for x, _ in finite)
    labels = [_label(10**value if log else value, share) for value in (top, (top + bottom) / 2, bottom)]
    margin = max(map(len, labels)) + 1
    columns = max(8, width - margin)
    cells: list[list[tuple[int, str]]] = [[(0, "")] * columns for _ in range(height)]
    for curve in curves:
        dots: list[tuple[int, int]] = []
        for x, y in curve.points:
            if math.isfinite(y):
                across = round((x - first) / ((last - first) or 1.0) * (2 * columns - 1))
                dots.append((across, round((top - scale(y)) / (top - bottom) * (4 * height - 1))))
        for column, row in _joined(dots):
            bits, _ = cells[row // 4][column // 2]
            cells[row // 4][column // 2] = (bits | _DOTS[column % 2][row % 4], curve.style)
    for number, line in enumerate(cells):
        label = {0: labels[0], height // 2: labels[1], height - 1: labels[2]}.get(number, "")
        text.append(f"\n{label:>{margin - 1}} ", style="dim")
        for bits, style in line:
            text.append(chr(0x2800 + bits), style=style)
    ends = f"{first:,.0f}", f"{last:,.0f}"
    text.append(f"\n{'':{margin}}{ends[0]}{ends[1]:>{columns - len(ends[0])}}", style="dim")
    return text


def _joined(dots: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The dots of the lines between neighbours."""
    if len(dots) == 1:
        yield dots[0]
    for (x0, y0), (x1, y1) in pairwise(dots):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for step in range(steps + 1):
            yield round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps)


def _label(value: float, share: bool) -> str:
    return f"{100 * value:.0f} %" if share else f"{value:.3g}"


class Curves:
    """The charts below the lines; what `rich.live.Live` draws."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._metrics: dict[str, list[tuple[float, float]]] = {}
        self._stepped = False

    def add(self, values: Mapping[str, float], step: float | None) -> None:
        """Metrics of one log line; one without a step is left out where lines before it had theirs."""
        if step is None and self._stepped:
            return  # the kept weights', told once more at the end
        self._stepped = self._stepped or step is not None
        for name, value in values.items():
            points = self._metrics.setdefault(name, [])
            points.append((step if step is not None else len(points) + 1.0, value))

    def __rich_console__(self, console: Any, options: Any) -> Iterator[RenderableType]:
        from rich.table import Table

        charts = self.charts((options.max_width - 3) // 2 if options.max_width >= 90 else options.max_width)
        if not charts:
            return
        grid = Table.grid(padding=(0, 3, 0, 0))
        if options.max_width >= 90:
            grid.add_row(*charts)
        else:
            for chart in charts:
                grid.add_row(chart)
        yield ""
        yield grid

    def charts(self, width: int) -> list[Any]:
        """Loss and accuracy, as far as anything is known of them."""
        found = []
        losses = [
            Curve("training", "blue", self._watch.loss or self._metrics.get("train:loss", ())),
            Curve("validation", "yellow", self._metrics.get("validation:loss", ())),
        ]
        accuracies = [
            Curve("training", "blue", self._metrics.get("train:accuracy", ())),
            Curve("validation", "yellow", self._metrics.get("validation:accuracy", ())),
        ]
        for title, curves, share in (("Loss", losses, False), ("Accuracy", accuracies, True)):
            curves = [curve for curve in curves if curve.points]
            if any(len(curve.points) > 1 for curve in curves):
                found.append(plot(title, curves, width, share=share))
        return found
