"""What a user sees: text through rich, or one JSON document for machines."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from contract.errors import ByocError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress
    from rich.table import Table
    from rich.text import Text


# Control characters but tab and newline: a log could clear the screen, set the title, or fake other output.
# Nor half a character, which JSON may hold and no terminal's encoding knows.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


_UNBOUNDED = 100_000  # characters of a line in a file or a pipe: a name that was cut there would be lost


def printable(text: str) -> str:
    """`text` without what would steer a terminal."""
    return _CONTROLS.sub("", text)


class Output:
    """Text goes to stdout. With `json`, stdout gets one JSON document and everything else goes to stderr."""

    def __init__(self, json: bool = False) -> None:
        self.json = json
        self.document: Mapping[str, Any] = {}
        """The command's outcome."""
        self.to_stderr = json
        """Where text goes. A command whose stdout is a file's content sets it before it says anything."""

    @cached_property
    def console(self) -> Console:
        from rich.console import Console

        console = Console(stderr=self.to_stderr, highlight=False, soft_wrap=True)
        if not console.is_terminal:
            console.width = _UNBOUNDED
        return console

    @property
    def live(self) -> bool:
        """Whether something can be drawn over: a terminal, not a file or a pipe."""
        return self.console.is_terminal

    def say(self, text: str, **values: Any) -> None:
        """A line; `values` are put in without their brackets being taken for markup."""
        from rich.markup import escape

        self.console.print(
            text.format(**{key: escape(printable(str(value))) for key, value in values.items()})
        )

    def raw(self, text: str, style: str = "") -> None:
        """A line from elsewhere (a log, a path), shown as it is."""
        self.console.print(printable(text), style=style, markup=False)

    def agreed(self, question: str) -> bool:
        """The answer of whoever sits at the terminal. Ctrl-D is a no, Ctrl-C a KeyboardInterrupt."""
        from rich.prompt import Confirm

        try:
            return Confirm.ask(question, default=False, console=self.console)
        except EOFError:
            self.raw("")
            return False

    def warn(self, text: str) -> None:
        from rich.markup import escape

        self.console.print(f"[yellow]![/] {escape(printable(text))}")

    def result(self, document: Mapping[str, Any]) -> None:
        """Keep the command's outcome, and print it for machines."""
        self.document = document
        if self.json:
            sys.stdout.write(json.dumps(document, indent=2, default=_plain) + "\n")
            sys.stdout.flush()

    def end(self) -> None:
        """Nothing follows: show what is not shown yet."""

    def error(self, error: ByocError) -> None:
        from rich.console import Console
        from rich.text import Text

        if self.json:
            body = {"message": error.message, "remedy": error.remedy, "kind": error.kind, "exit": error.code}
            self.result({"error": {**body, **error.details}})
            return
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(Text.assemble(("Error: ", "bold red"), printable(error.message)))
        if error.remedy:
            console.print(Text.assemble(("→ ", "green"), printable(error.remedy)))

    def table(self, *columns: str, title: str = "", right: Sequence[str] = ()) -> Table:
        """An empty table; fill it with `row`."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=Text(title) if title else None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False
        )
        for column in columns:
            # What does not fit goes on in the next line, and is never cut.
            table.add_column(column, justify="right" if column in right else "left", overflow="fold")
        return table

    def row(self, table: Table, *cells: str | Text, style: str = "") -> None:
        """One more row. A string is shown as it is; what is to be coloured is a Text."""
        from rich.text import Text

        shown = (Text(printable(cell)) if isinstance(cell, str) else cell for cell in cells)
        table.add_row(*shown, style=style)

    def show(self, table: Table) -> None:
        self.console.print(table, soft_wrap=False)

    def show_first(self, tables: Sequence[Table]) -> None:
        """The first table that fits in the terminal without a cell being broken, or else the last.

        The last is shown as wide as it is: the terminal goes on in the next line, and copies it as one.
        """
        from rich.measure import Measurement
        from rich.segment import Segments

        console = self.console
        wide = console.options.update(width=_UNBOUNDED)
        widths = [Measurement.get(console, wide, table).maximum for table in tables]
        chosen = next((n for n, width in enumerate(widths) if width <= console.width), len(tables) - 1)
        shown = console.render(tables[chosen], wide.update(width=widths[chosen]))
        console.print(Segments(shown), soft_wrap=True, end="")

    @contextmanager
    def drawing(self, first: RenderableType | None = None) -> Iterator[Callable[[RenderableType], None]]:
        """Within the block something that changes is drawn below the lines, beginning with `first`.

        What it yields draws it anew. Where nothing can be drawn over, nothing is.
        """
        from rich.live import Live

        if not self.live:
            yield lambda below: None
            return
        with Live(first, console=self.console, refresh_per_second=2) as live:
            yield live.update

    @contextmanager
    def progress(self, what: str) -> Iterator[Progress]:
        with progress_bar(self.console, what, disable=not self.live) as progress:
            yield progress


def progress_bar(console: Console, what: str, *, disable: bool) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, disable=disable)
    progress.add_task(what, total=None)
    return progress


def bar(progress: Progress) -> Any:
    """A (done, all) callback for the progress bar's only task."""
    task = progress.tasks[0].id

    def advance(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total)

    return advance


def short(number: float | str) -> str:
    """A hyperparameter's or metric's value with four significant digits."""
    try:
        value = float(number)
    except ValueError:
        return str(number)
    return f"{value:.4g}"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
