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
from scripts.settings import FILE, Aws, Settings

if TYPE_CHECKING:
    from scripts.aws import Clients
    from scripts.web.values import Source

_SOURCES: Final = 48
_PRICE_SECONDS: Final = 3600.0
# A session of boto3 keeps what it read: credentials that were renewed since are for a new one.
_STALE: Final = (
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "NoCredentials",
)


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
    _place: Aws | None = None
    """The settings that the clients were made for."""
    _read: tuple[tuple[int, int, int] | None, Settings] | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _prices: dict[tuple[str, str], tuple[float, Price | None]] = field(default_factory=dict)
    _sources: OrderedDict[str, Source] = field(default_factory=OrderedDict)

    def context(
        self, overrides: Iterable[str] = (), *, heard: Callable[[str], None] = lambda _: None
    ) -> Context:
        """What a command gets; byoc.toml is read anew, since it may have been changed."""
        changed = list(overrides)
        context = self._context(changed, heard)
        # The settings of another one: a command puts its flags on top of this one's before they are read.
        place = (self._context(changed).settings if changed else self.settings).aws
        with self._lock:
            self._keep_place(self.settings)
            if self._clients is not None and self._place == place:
                context.clients = self._clients
        return context

    def _context(self, changed: Iterable[str], heard: Callable[[str], None] = lambda _: None) -> Context:
        sets = [*self.overrides, *changed]
        return Context(Collected(heard), self.config, sets, dict(self.flags), required=False)

    def _keep_place(self, settings: Settings) -> None:
        """Forget the clients and what they read if byoc.toml names another account, region or service now."""
        with self._lock:
            if self._clients is not None and self._place != settings.aws:
                self._forget()

    def _forget(self) -> None:
        self._clients = self._place = None
        self._sources.clear()
        self._prices.clear()

    @property
    def settings(self) -> Settings:
        """byoc.toml's, read again whenever the file is another one."""
        try:
            stat = (self.config or Path(FILE)).stat()
            version = stat.st_mtime_ns, stat.st_size, stat.st_ino
        except OSError:  # there is none, or reading it says why not
            version = None
        if self._read is None or self._read[0] != version:
            self._read = version, self._context(()).settings
        return self._read[1]

    @property
    def clients(self) -> Clients:
        """ByocError while the local SageMaker does not answer; afterwards they stay."""
        with self._lock:
            settings = self.settings
            self._keep_place(settings)
            if self._clients is None:
                self._clients, self._place = self.context().clients, settings.aws
            return self._clients

    def readable(self, error: Exception) -> ByocError:
        """Every error as one for the user; one that nobody foresaw is called so."""
        if isinstance(error, ByocError):
            return error
        try:
            translated = self.context().translate(error)
        except ByocError as other:
            return other
        if translated and translated.kind in _STALE:
            with self._lock:
                self._forget()
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
            clients = self.clients
            price = prices.find(clients, machine, use)
            # The local SageMaker has a price for everything: AWS's, from the table, is that of a moment
            # in which it did not answer.
            if clients.log_lag > 0 or (price and not price.date):
                self._prices[key] = (time.monotonic(), price)
        return price

    def hourly(self, machine: str, use: Use) -> float | None:
        """The same in dollars."""
        price = self.price(machine, use)
        return None if price is None else price.hourly

    def source(self, key: str, make: Callable[[], Source]) -> Source:
        """The source of that key; the tabs that show the same share it."""
        self._keep_place(self.settings)
        with self._lock:
            if key not in self._sources:
                self._sources[key] = make()
            self._sources.move_to_end(key)
            while len(self._sources) > _SOURCES:
                self._sources.popitem(last=False)
            return self._sources[key]
