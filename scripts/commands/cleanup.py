"""delete --all."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from contract.errors import FAILED, INTERRUPTED, ByocError
from report.words import plural
from scripts.context import Context
from scripts.output import Output
from scripts.prices import MONTH, money

if TYPE_CHECKING:
    from rich.progress import Progress

    from scripts.cleanup.part import Found, Part
    from scripts.cleanup.run import Outcome

_SHOWN = 12  # parts of a kind, by name


class Counter:
    """Counts objects on a progress bar, of which there is one at a time."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._bar: Progress | None = None

    @contextmanager
    def shown(self, what: str) -> Iterator[None]:
        with self._out.progress(what) as self._bar:
            yield

    def __call__(self, done: int) -> None:
        if self._bar:
            self._bar.update(self._bar.tasks[0].id, completed=done)


def delete_all(context: Context, *, yes: bool, records: bool) -> None:
    """Show what there is of the project, ask, delete it, and ask AWS what is left."""
    from scripts.cleanup import inventory, run

    settings, clients, out = context.settings, context.clients, context.out
    project, where = settings.project.name, f"{clients.region} (account {clients.account})"

    counted = Counter(out)

    def look() -> Found:
        with counted.shown("looking, objects"):
            return inventory.take(clients, settings, records=records, progress=counted)

    there = look()
    parts = list(there.parts)
    if state := inventory.local_state(settings):
        parts.append(state)
    if not there.parts:
        _show_rest(context, there)
        _finish(context, there, run.Outcome(), state)
        return
    out.say("This is deleted of [bold]{project}[/] in {where}:", project=project, where=where)
    _show(context, parts)
    _show_rest(context, there)
    if not yes:
        _ask(context, parts, there.stays)
    outcome = run.Outcome()
    try:
        with counted.shown("deleting, objects"):
            for part, reason in run.delete(there.parts, outcome):
                if reason:
                    out.warn(f"{part.kind} {part.name}: {reason}")
                else:
                    out.raw(f"  {part.done} {part.kind} {part.name}")
    except KeyboardInterrupt:
        _interrupted(context, there.parts, outcome)
    except ByocError as error:
        rest = _rest(there.parts, outcome)
        error.remedy = f"{error.remedy} {_again(rest)}".strip()
        error.details |= {**outcome.as_dict(), "left": [part.as_dict() for part in rest]}
        raise
    _finish(context, look(), outcome, state)


def _show(context: Context, parts: Sequence[Part]) -> None:
    kinds = dict.fromkeys(part.kind for part in parts)
    for kind in kinds:
        alike = [part for part in parts if part.kind == kind]
        for part in alike[:_SHOWN]:
            context.out.raw(f"  {part.text}")
        if len(alike) > _SHOWN:
            context.out.raw(f"  … and {len(alike) - _SHOWN} more of kind {kind}")


def _show_rest(context: Context, there: Found) -> None:
    if there.stays:
        context.out.raw("This stays:")
    for sentence in there.stays:
        context.out.raw(f"  {sentence}")
    for sentence in there.unseen:
        context.out.warn(sentence)


def _ask(context: Context, parts: Sequence[Part], stays: Sequence[str]) -> None:
    if not _can_ask(context.out):
        raise ByocError(
            f"byoc delete --all would delete {plural(len(parts), 'thing')} and asks before it does, "
            "in a terminal.",
            "Read the list; --yes (yes=True in a notebook) deletes all of it.",
            kind="NotConfirmed",
            details={"would_delete": [part.as_dict() for part in parts], "stays": list(stays)},
        )
    if not context.out.agreed("Delete all this?"):
        context.out.raw("Nothing was deleted.")
        raise typer.Exit(0)


def _can_ask(out: Output) -> bool:
    """Whether there is somebody at a terminal; in a notebook there is none."""
    return out.live and not out.json and sys.stdin.isatty()


def _rest(parts: Sequence[Part], outcome: Outcome) -> list[Part]:
    gone = {(part.kind, part.name) for part in outcome.deleted}
    return [part for part in parts if (part.kind, part.name) not in gone]


def _again(rest: Sequence[Part]) -> str:
    """What is not deleted yet, what it costs, and how to go on."""
    names = ", ".join(f"{part.kind} {part.name}" for part in rest[:3])
    more = f" and {len(rest) - 3} more" if len(rest) > 3 else ""
    return f"Not deleted yet: {names}{more}{_cost(rest)}. `byoc delete --all` goes on."


def _cost(parts: Sequence[Part]) -> str:
    hourly = sum(part.hourly or 0 for part in parts)
    unknown = any(part.hourly is None for part in parts)
    if not hourly:
        return ", at a price that is unknown" if unknown else ""
    return f", {money(hourly * MONTH)} a month" + (" and what has no known price" if unknown else "")


def _interrupted(context: Context, parts: Sequence[Part], outcome: Outcome) -> NoReturn:
    rest = _rest(parts, outcome)
    context.out.raw(f"\nInterrupted: {len(outcome.deleted)} of {len(parts)} are deleted.", style="yellow")
    context.out.raw(_again(rest))
    left = [part.as_dict() for part in rest]
    context.out.result({**outcome.as_dict(), "left": left, "interrupted": True})
    raise typer.Exit(INTERRUPTED) from None


def _finish(context: Context, left: Found, outcome: Outcome, state: Part | None) -> None:
    """After AWS was asked again: the proof, or what is left and what it costs."""
    out, project = context.out, context.settings.project.name
    document: dict[str, Any] = {
        **outcome.as_dict(),
        "left": [part.as_dict() for part in left.parts],
        "stays": list(left.stays),
        "not_seen": list(left.unseen),
    }
    if left.parts:
        out.raw("AWS was asked again. This is left:")
        _show(context, left.parts)
        if out.json:
            out.result(document)
            raise typer.Exit(FAILED)
        raise ByocError(
            f"{plural(len(left.parts), 'thing')} of {project} could not be deleted{_cost(left.parts)}.",
            "The lines above say why; `byoc delete --all` tries again.",
            code=FAILED,
            kind="NotAllDeleted",
        )
    if state:
        state.remove()
        out.raw(f"  {state.done} {state.kind} {state.name}")
    but = " but what is named above" if left.stays or left.unseen else ""
    out.say(
        "AWS was asked again: nothing of [bold]{project}[/] is left in {region}{but}.",
        project=project,
        region=context.clients.region,
        but=but,
    )
    out.raw(
        "The bucket and the role stay: other projects may use them, and neither costs anything by itself."
    )
    out.result(document)
