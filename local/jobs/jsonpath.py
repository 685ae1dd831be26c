"""The part of JSONPath that batch transform has for its filters, and no more.

`$`, `.name`, `['name', …]`, `[number, …]`, `[start:end]` and `*`. As SageMaker documents it, and unlike
Python, a slice holds its end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

OPERATORS = "$, .name, ['name', …], [number, …], [start:end], *"

_STEP = re.compile(r"\.?\[([^\[\]]*)\]|\.(\*|[^.\[\]*'\"()?@\s]+)")
_NAMES = re.compile(r"\s*'[^']*'\s*(,\s*'[^']*'\s*)*")
_ITEM = re.compile(r"\s*(?:(-?\d+)|(-?\d+)?\s*:\s*(-?\d+)?)\s*")


class PathError(ValueError):
    """A path that cannot be read, or that leads nowhere in a record; the text says why."""


@dataclass(frozen=True)
class _Names:
    names: Sequence[str]


@dataclass(frozen=True)
class _Items:
    """Indexes, and slices as (start, end)."""

    items: Sequence[int | tuple[int | None, int | None]]


class _All:
    """The wildcard."""


_Step = _Names | _Items | _All


def compile_path(path: str) -> Callable[[Any], Any]:
    """A function from a parsed record to what `path` selects of it. PathError for what is not supported.

    One name or index gives the value itself, several names an object, everything else a list. The function
    raises PathError where a record lacks what is named.
    """
    steps = _parse(path)

    def select(record: Any) -> Any:
        return _walk(record, steps, path)

    return select


def _parse(path: str) -> list[_Step]:
    text = path.strip()
    if not text.startswith("$"):
        raise PathError(f"{path!r} must begin with $; supported: {OPERATORS}.")
    steps: list[_Step] = []
    at = 1
    while at < len(text):
        step = _STEP.match(text, at)
        if step is None:
            raise PathError(f"{path!r} cannot be read from {text[at:]!r} on; supported: {OPERATORS}.")
        if steps and isinstance(steps[-1], _Names) and len(steps[-1].names) > 1:
            raise PathError(f"{path!r}: nothing may follow several names.")
        steps.append(_dotted(step[2]) if step[1] is None else _bracket(step[1], path))
        at = step.end()
    return steps


def _dotted(name: str) -> _Step:
    return _All() if name == "*" else _Names((name,))


def _bracket(text: str, path: str) -> _Step:
    if text.strip() == "*":
        return _All()
    if _NAMES.fullmatch(text):
        return _Names(re.findall(r"'([^']*)'", text))
    items: list[int | tuple[int | None, int | None]] = []
    for part in text.split(","):
        item = _ITEM.fullmatch(part)
        if item is None:
            raise PathError(f"{path!r}: [{text}] cannot be read; supported: {OPERATORS}.")
        number, start, end = (None if value is None else int(value) for value in item.groups())
        items.append((start, end) if number is None else number)
    return _Items(items)


def _walk(value: Any, steps: Sequence[_Step], path: str) -> Any:
    if not steps:
        return value
    step, *rest = steps
    if isinstance(step, _Names):
        for name in step.names:
            if not isinstance(value, dict) or name not in value:
                raise PathError(f"{path} finds no {name!r} in {_shown(value)}")
        if len(step.names) > 1:
            return {name: value[name] for name in step.names}
        return _walk(value[step.names[0]], rest, path)
    if isinstance(step, _All):
        if not isinstance(value, dict | list):
            raise PathError(f"{path} finds no parts in {_shown(value)}")
        return [_walk(item, rest, path) for item in (value.values() if isinstance(value, dict) else value)]
    if not isinstance(value, list):
        raise PathError(f"{path} finds no list in {_shown(value)}")
    if len(step.items) == 1 and isinstance(step.items[0], int):
        return _walk(_at(value, step.items[0], path), rest, path)
    chosen: list[Any] = []
    for item in step.items:
        chosen += [_at(value, item, path)] if isinstance(item, int) else _slice(value, *item, path=path)
    return [_walk(each, rest, path) for each in chosen]


def _at(value: list[Any], index: int, path: str) -> Any:
    if not -len(value) <= index < len(value):
        raise PathError(f"{path} asks for index {index}, and there are {len(value)} in {_shown(value)}")
    return value[index]


def _slice(value: list[Any], start: int | None, end: int | None, *, path: str) -> list[Any]:
    for index in (start, end):
        if index is not None:
            _at(value, index, path)
    if end is None or end % len(value) == len(value) - 1:
        return value[start:]
    return value[start : end + 1]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:100] + "…"
