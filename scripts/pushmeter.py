"""How far a push is: the engine's events summed up, and a progress bar over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scripts.output import Output


@dataclass
class Meter:
    """What the engine says during a push, summed up: bytes (uncompressed) and layers."""

    layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    finished: dict[str, bool] = field(default_factory=dict)  # layer → whether it had to be sent
    digest: str = ""
    waiting: str = ""  # the engine tries a layer again by itself: "Retrying in 5 seconds"

    def take(self, event: Mapping[str, Any]) -> None:
        layer, status = str(event.get("id", "")), str(event.get("status", ""))
        detail = event.get("progressDetail") or {}
        self.digest = (event.get("aux") or {}).get("Digest") or self.digest
        self.waiting = status if status.startswith("Retrying") else ""
        if status == "Pushing" and detail.get("total"):
            # The engine leaves out a `current` of 0.
            self.layers[layer] = (min(detail.get("current", 0), detail["total"]), detail["total"])
        elif status == "Pushed":
            self.finished[layer] = True
            total = self.layers.get(layer, (0, 0))[1]
            self.layers[layer] = (total, total)
        elif status == "Layer already exists" or status.startswith("Mounted from"):
            self.finished[layer] = False

    @property
    def done(self) -> int:
        return sum(done for done, _ in self.layers.values())

    @property
    def total(self) -> int:
        return sum(total for _, total in self.layers.values())

    @property
    def sent(self) -> int:
        """Layers that were not there before."""
        return sum(self.finished.values())


@contextmanager
def shown(out: Output, what: str) -> Iterator[Callable[[Meter], None]]:
    """A progress bar over the bytes of one push, gone when that is over; only on a terminal."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column

    one_line = Column(no_wrap=True)
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False), BarColumn()]
    columns.append(DownloadColumn(table_column=one_line))
    if out.console.width >= 80:
        columns.append(TransferSpeedColumn(table_column=one_line))
    columns.append(TimeRemainingColumn(compact=True, table_column=one_line))
    with Progress(*columns, console=out.console, disable=not out.live, transient=True) as progress:
        task = progress.add_task(what, total=None, visible=False)

        def report(meter: Meter) -> None:
            if meter.total:
                description = "connection broke: retrying" if meter.waiting else what
                progress.update(
                    task, completed=meter.done, total=meter.total, description=description, visible=True
                )

        yield report
