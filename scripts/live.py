"""A running job in the terminal: how far it is, and its curves as they grow. All of it comes from its log."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from report.words import duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from contract.findings import ProgressLine

# A braille character has 2 by 4 dots; the bit of each, by column and row from the top.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
DECADES = 30.0


@dataclass
class Curve:
    """One line of a chart."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]


def plot(title: str, curves: Sequence[Curve], width: int, height: int = 8, *, share: bool = False) -> Any:
    """A chart of braille dots as rich text, `width` characters wide: y axis, curves, steps below.

    Logarithmic where the values span decades. Values that are no numbers are left out of the line and named
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

    def __init__(self) -> None:
        self._metrics: dict[str, list[tuple[float, float]]] = {}
        self._loss: list[tuple[float, float]] = []
        self._progress: ProgressLine | None = None
        self._stepped = False

    def add(self, values: Mapping[str, float], step: float | None) -> None:
        """Metrics of one log line; one without a step is left out where lines before it had theirs."""
        if step is None and self._stepped:
            return  # the kept weights', repeated at the end
        self._stepped = self._stepped or step is not None
        for name, value in values.items():
            points = self._metrics.setdefault(name, [])
            points.append((step if step is not None else len(points) + 1.0, value))

    def advance(self, progress: ProgressLine) -> None:
        """The job is that far. Going back, as after an interruption, takes the points behind it back."""
        self._progress = progress
        while self._loss and self._loss[-1][0] >= progress.step:
            self._loss.pop()
        self._loss.append((float(progress.step), math.nan if progress.loss is None else progress.loss))

    def end(self) -> None:
        """The job has ended: what was left of it no longer counts."""
        self._progress = None

    def __rich_console__(self, console: Any, options: Any) -> Iterator[RenderableType]:
        from rich.table import Table

        wide = options.max_width >= 90
        charts = self.charts((options.max_width - 3) // 2 if wide else options.max_width)
        if self._progress:
            yield ""
            yield how_far(self._progress)
        if not charts:
            return
        grid = Table.grid(padding=(0, 3, 0, 0))
        if wide:
            grid.add_row(*charts)
        else:
            for chart in charts:
                grid.add_row(chart)
        yield ""
        yield grid

    def charts(self, width: int) -> list[Any]:
        """Loss and accuracy, as far as anything is known of them."""
        drawn = []
        # The last epoch's mean says less than the loss by step, unless the log has few steps.
        by_step = self._loss if len(self._loss) > 2 else self._metrics.get("train:loss", ())
        losses = [
            Curve("training", "blue", by_step),
            Curve("validation", "yellow", self._metrics.get("validation:loss", ())),
        ]
        accuracies = [
            Curve("training", "blue", self._metrics.get("train:accuracy", ())),
            Curve("validation", "yellow", self._metrics.get("validation:accuracy", ())),
        ]
        for title, curves, share in (("Loss", losses, False), ("Accuracy", accuracies, True)):
            curves = [curve for curve in curves if curve.points]
            if any(len(curve.points) > 1 for curve in curves):
                drawn.append(plot(title, curves, width, share=share))
        return drawn


def how_far(progress: ProgressLine) -> str:
    """`epoch 3 of 8, step 120 of 400 (30 %), 1,234 pictures/s, 12 s left`."""
    parts = [f"epoch {progress.epoch} of {progress.epochs}"]
    share = f" ({100 * progress.step / progress.steps:.0f} %)" if progress.steps else ""
    parts.append(f"step {progress.step:,} of {progress.steps:,}{share}")
    if progress.images_per_second is not None:
        parts.append(f"{progress.images_per_second:,.0f} pictures/s")
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(parts)
