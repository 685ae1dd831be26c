"""Server-sent events: what changed of a source's documents, until it has ended or the tab is closed."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from starlette.concurrency import run_in_threadpool

from contract.errors import NOT_FOUND
from scripts.web.session import Session
from scripts.web.values import Source, dump

log = logging.getLogger("byoc.web")

_HEARTBEAT: Final = 15.0


@dataclass(frozen=True)
class Timing:
    """Seconds between two looks."""

    shortest: float = 0.5
    """While something happens."""
    longest: float = 3.0
    longest_here: float = 1.0
    """For a service on this machine: to ask it costs nobody anything."""


_TIMING: Final = Timing()


async def events(
    session: Session,
    make: Callable[[], Source],
    closing: Callable[[], bool] = lambda: False,
    timing: Timing = _TIMING,
) -> AsyncIterator[str]:
    """The events of one tab. An error becomes an event too, and reading goes on where it may pass."""
    sent: dict[str, str] = {}
    count, pause, quiet, trouble = 0, timing.shortest, 0.0, ""
    while not closing():
        message: dict[str, str] = {}
        source: Source | None = None
        try:
            source = await run_in_threadpool(make)
            await run_in_threadpool(source.look)
            documents = source.documents()
            changed = {key: text for key, text in documents.items() if sent.get(key) != text}
            gone = [key for key in sent if key not in documents]
            count, lines = source.lines(count)
            if changed:
                message["documents"] = _object(changed)
            if gone:
                message["gone"] = json.dumps(gone)
            if lines:
                message["lines"] = dump(lines)
            sent = dict(documents)
            if trouble or not message.keys().isdisjoint({"documents"}):
                message["trouble"], trouble = "null", ""
            ended = source.ended
        except Exception as error:
            readable = session.readable(error)
            if readable.kind == "Unforeseen":
                log.exception("a live page could not be read")
            ended = readable.code == NOT_FOUND
            text = dump({"message": readable.message, "remedy": readable.remedy, "kind": readable.kind})
            if text != trouble:
                message["trouble"], trouble = text, text
        if ended:
            message["ended"] = "true"
        if message:
            yield f"data: {_object(message)}\n\n"
            quiet = 0.0
        if ended:
            return
        if not message and quiet >= _HEARTBEAT:
            yield ": still here\n\n"
            quiet = 0.0
        pause = timing.shortest if message else min(pause * 1.4, _longest(session, timing))
        quiet += pause
        await asyncio.sleep(pause)


def _longest(session: Session, timing: Timing) -> float:
    try:
        return timing.longest_here if session.clients.log_lag == 0 else timing.longest
    except Exception:  # it does not answer: the look has said so
        return timing.longest


def _object(members: dict[str, str]) -> str:
    """A JSON object of texts that are JSON already."""
    return "{" + ",".join(f"{json.dumps(key)}:{text}" for key, text in members.items()) + "}"
