"""What the server knows: settings and clients as a command has them, prices, and live pages' sources."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from contract.errors import FAILED, ByocError
from scripts import prices
from scripts.context import Context
from scripts.output import Output, printable
from scripts.prices import Price, Use
from scripts.settings import Settings

if TYPE_CHECKING:
    from scripts.aws import Clients
    from scripts.web.values import Source

_SOURCES: Final = 48
_PRICE_SECONDS: Final = 3600.0


class Collected(Output):
    """A command's output as values: its lines in the order in which they came, and its document."""

    def __init__(self, heard: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(json=True)
        self.lines: list[str] = []
        self.document: dict[str, Any] = {}
        self._heard = heard

    def say(self, text: str, **values: Any) -> None:
        from rich.text import Text

        self.raw(Text.from_markup(text).plain.format(**values))

    def raw(self, text: str, style: str = "") -> None:
        line = printable(text).strip()
        self.lines.append(line)
        self._heard(line)

    def warn(self, text: str) -> None:
        self.raw(text)

    def show(self, table: object) -> None:
        """Tables are for terminals."""

    def result(self, document: Any) -> None:
        self.document = dict(document)


@dataclass
class Session:
    """One project. Safe to share between threads."""

    config: Path | None = None
    overrides: tuple[str, ...] = ()
    flags: dict[str, str] = field(default_factory=dict)
    _clients: Clients | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _prices: dict[tuple[str, str], tuple[float, Price | None]] = field(default_factory=dict)
    _sources: OrderedDict[str, Source] = field(default_factory=OrderedDict)

    def context(
        self, overrides: Iterable[str] = (), *, heard: Callable[[str], None] = lambda _: None
    ) -> Context:
        """What a command gets; byoc.toml is read anew, since it may have been changed."""
        context = Context(
            Collected(heard), self.config, [*self.overrides, *overrides], dict(self.flags), required=False
        )
        if self._clients is not None:
            context.clients = self._clients
        return context

    @property
    def settings(self) -> Settings:
        return self.context().settings

    @property
    def clients(self) -> Clients:
        """ByocError while the local SageMaker does not answer; afterwards they stay."""
        with self._lock:
            if self._clients is None:
                self._clients = self.context().clients
            return self._clients

    def readable(self, error: Exception) -> ByocError:
        """Every error as one for the user; one that nobody foresaw is called so."""
        if isinstance(error, ByocError):
            return error
        try:
            translated = self.context().translate(error)
        except ByocError as other:
            return other
        return translated or ByocError(
            f"{type(error).__name__}: {error}",
            "That is a fault of `byoc web`; the terminal shows where.",
            code=FAILED,
            kind="Unforeseen",
        )

    def price(self, machine: str, use: Use) -> Price | None:
        """What an hour of one machine costs, asked once an hour."""
        key = (machine, use)
        asked, price = self._prices.get(key, (None, None))
        if asked is None or time.monotonic() - asked > _PRICE_SECONDS:
            # Not under the lock: where AWS does not answer this, it takes seconds.
            price = prices.find(self.clients, machine, use)
            self._prices[key] = (time.monotonic(), price)
        return price

    def hourly(self, machine: str, use: Use) -> float | None:
        """The same in dollars."""
        price = self.price(machine, use)
        return None if price is None else price.hourly

    def source(self, key: str, make: Callable[[], Source]) -> Source:
        """The source of that key; the tabs that show the same share it."""
        with self._lock:
            if key not in self._sources:
                self._sources[key] = make()
            self._sources.move_to_end(key)
            while len(self._sources) > _SOURCES:
                self._sources.popitem(last=False)
            return self._sources[key]
