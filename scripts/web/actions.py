"""What the page starts, stops and changes, by calling what the commands call.

What takes minutes runs in a thread that goes on without the browser; its lines and its end are shown by the
pages.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from contract.errors import ByocError
from scripts.context import Context
from scripts.web.session import Collected, Session

log = logging.getLogger("byoc.web")
_KEPT: Final = 50


@dataclass
class Activity:
    """Something that goes on in a thread, or did."""

    id: int
    title: str
    about: str
    """The page that it concerns, as in `endpoint/digits`."""
    lines: list[str] = field(default_factory=list)
    state: str = "running"
    error: dict[str, str] | None = None
    thread: threading.Thread = field(default_factory=threading.current_thread)

    def as_dict(self) -> dict[str, Any]:
        """For the page."""
        return {key: value for key, value in vars(self).items() if key != "thread"}


class Activities:
    """The newest activities; safe to share between threads."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._all: list[Activity] = []
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[Activity]:
        with self._lock:
            return iter(list(self._all))

    def about(self, page: str) -> Activity | None:
        """The newest that concerns a page."""
        return next((item for item in reversed(list(self)) if item.about == page), None)

    def start(
        self, session: Session, title: str, about: str, work: Callable[[Context], object], sets: Sequence[str]
    ) -> Activity:
        """Run `work` in a thread. ByocError where the same page is being changed already."""
        lines: list[str] = []
        context = session.context(sets, heard=lines.append)
        with self._lock:
            if any(item.about == about and item.state == "running" for item in self._all):
                raise ByocError(
                    f"Something is being done with {about.partition('/')[2]} already.", "Wait for its end."
                )
            activity = Activity(next(self._numbers), title, about, lines)
            self._all = [*self._all, activity][-_KEPT:]
        activity.thread = threading.Thread(
            target=_carry_out, args=(session, activity, work, context), daemon=True
        )
        activity.thread.start()
        return activity


def _carry_out(
    session: Session, activity: Activity, work: Callable[[Context], object], context: Context
) -> None:
    try:
        work(context)
        activity.state = "done"
    except Exception as error:
        readable = session.readable(error)
        if readable.kind == "Unforeseen":
            log.exception("%s failed", activity.title)
        activity.error = {"message": readable.message, "remedy": _remedy(context, readable)}
        activity.state = "failed"


def _remedy(context: Context, error: ByocError) -> str:
    """With what goes on running though the command has failed."""
    if context.left and not error.details.get("ended"):
        return f"{error.remedy} {context.left.sentence()}".strip()
    return error.remedy


def document_of(context: Context) -> dict[str, Any]:
    """What a command said: its document, and its lines."""
    out = context.out
    assert isinstance(out, Collected)
    return {**out.document, "lines": out.lines}


def train(session: Session, sets: Sequence[str], *, name: str = "", best_of: str = "") -> dict[str, Any]:
    """Create a training job as `byoc train --no-wait` does."""
    from scripts.commands.training import train as command

    context = session.context(sets)
    command(context, from_=best_of, name=name, wait=False)
    return document_of(context)


def tune(
    session: Session, sets: Sequence[str], *, name: str = "", ranges: Sequence[str] = ()
) -> dict[str, Any]:
    """Create a tuning job as `byoc tune --no-wait` does."""
    from scripts.commands.tuning import tune as command

    context = session.context(sets)
    command(context, name=name, range_=list(ranges), wait=False)
    return document_of(context)


def stop(session: Session, name: str) -> dict[str, Any]:
    """Stop a job of any kind as `byoc stop --no-wait` does."""
    from scripts.commands.watching import stop as command

    context = session.context()
    command(context, name, wait=False)
    return document_of(context)


def deploy(
    session: Session, activities: Activities, job: str, endpoint: str, machine: str, *, update: bool
) -> Activity:
    """Create or update an endpoint as `byoc deploy` does, in the background until it answers."""
    from scripts.commands.serving import deploy as command

    def work(context: Context) -> None:
        command(context, job, endpoint=endpoint, instance_type=machine or None, update=update)

    title = f"{'Updating' if update else 'Creating'} the endpoint {endpoint}"
    return activities.start(session, title, f"endpoint/{endpoint}", work, ())


def delete(session: Session, activities: Activities, endpoint: str) -> Activity:
    """Delete an endpoint as `byoc delete NAME` does, in the background until it is gone."""
    from scripts.commands.serving import delete as command

    def work(context: Context) -> None:
        command(context, endpoint)

    return activities.start(session, f"Deleting the endpoint {endpoint}", f"endpoint/{endpoint}", work, ())
