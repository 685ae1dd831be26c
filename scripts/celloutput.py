"""What a command shows below a notebook's cell: its lines, and under them what still changes."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from contract.errors import ByocError
from scripts.output import Output, progress_bar

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress

_WIDTH = 100  # characters: what a cell holds on a laptop's screen
_PRE = (
    '<pre style="white-space: pre; overflow-x: auto; font-family: monospace; line-height: 1.3">{code}</pre>'
)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return hasattr(shell, "kernel")


# Black, red, green, yellow, blue, magenta, cyan, grey: each can be read on white and on black.
_COLOURS = [
    (110, 110, 110),
    (217, 72, 15),
    (18, 150, 108),
    (168, 138, 0),
    (43, 135, 200),
    (198, 106, 160),
    (20, 145, 165),
    (138, 146, 156),
]


class NotebookError(ByocError):
    """What went wrong and what to do, which a notebook shows instead of a traceback."""

    @classmethod
    def of(cls, error: ByocError) -> NotebookError:
        return cls(error.message, error.remedy, code=error.code, kind=error.kind, details=error.details)

    def _render_traceback_(self) -> list[str]:
        return [f"Error: {self.message}", *([f"→ {self.remedy}"] if self.remedy else [])]


class Result(dict[str, Any]):
    """A command's outcome. A cell that ends with it shows nothing more: the lines above it say it."""

    def _ipython_display_(self) -> None:
        pass


class CellOutput(Output):
    """Redraws one output of the cell instead of adding to it, so that nothing has to move a cursor.

    The output is HTML, and the same as plain text for what reads no HTML.
    """

    def __init__(self, *, ease: float = 4.0) -> None:
        """`ease` times the seconds of a drawing pass before the next one: a burst of lines costs little."""
        super().__init__()
        self._ease = ease
        self._below: RenderableType | None = None
        self._handle: Any = None
        self._rest = 0.0

    @cached_property
    def console(self) -> Console:
        return _recorder(_Lines(self._draw))

    @property
    def live(self) -> bool:
        return True

    def say(self, text: str, **values: Any) -> None:
        if not text.startswith("Next: "):  # names a command of the program; here a cell comes next
            super().say(text, **values)

    @contextmanager
    def drawing(self, first: RenderableType | None = None) -> Iterator[Callable[[RenderableType], None]]:
        def draw(below: RenderableType) -> None:
            self._below = below
            self._draw()

        self._below = first
        try:
            yield draw
        finally:
            if self._below is not None and self._below is not first:  # a table has its last state now
                self.console.print(self._below)
            self._below = None
            self.end()

    @contextmanager
    def progress(self, what: str) -> Iterator[Progress]:
        bar = progress_bar(self.console, what, disable=True)  # never started: it is drawn here
        with self.drawing(bar) as draw:
            update = bar.update

            def advance(*arguments: Any, **values: Any) -> None:
                update(*arguments, **values)
                draw(bar)

            bar.update = advance  # type: ignore[method-assign]
            yield bar

    def end(self) -> None:
        self._rest = 0.0
        if self._handle is not None or "console" in self.__dict__:
            self._draw()

    def _draw(self) -> None:
        begin = time.monotonic()
        if begin < self._rest:
            return
        html, text = _exported(self.console)
        if self._below is not None:
            below = _recorder(io.StringIO())
            below.print(self._below)
            html, text = (ours + theirs for ours, theirs in zip((html, text), _exported(below), strict=True))
        bundle = {"text/html": _PRE.format(code=html), "text/plain": text}
        if self._handle is None:
            from IPython.display import display

            shows: Callable[..., Any] = display
            self._handle = shows(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
        end = time.monotonic()
        self._rest = end + self._ease * (end - begin)


class _Lines(io.StringIO):
    """Where rich writes: it flushes after each print."""

    def __init__(self, printed: Callable[[], None]) -> None:
        super().__init__()
        self._printed = printed

    def flush(self) -> None:
        self._printed()


def _recorder(file: io.StringIO) -> Console:
    from rich.console import Console

    return Console(
        file=file, record=True, width=_WIDTH, highlight=False, force_jupyter=False, force_terminal=False
    )


def _exported(console: Console) -> tuple[str, str]:
    """Everything that was printed, as HTML and as text."""
    from rich.terminal_theme import TerminalTheme

    theme = TerminalTheme((255, 255, 255), (0, 0, 0), _COLOURS)
    html = console.export_html(theme=theme, clear=False, inline_styles=True, code_format="{code}")
    return html, console.export_text(clear=False)
