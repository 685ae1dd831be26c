"""Regular expressions from outside, compiled only if no input can make them slow.

Collection and rule configurations carry regexes, and a trial may come from anywhere. Python's `re`
backtracks: `(a+)+$` takes for ever on thirty letters. So a repeat of something that itself varies in length,
back-references and long chains of open repeats are refused, with a reason.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MAX_LENGTH = 512
MAX_OPEN_REPEATS = 2  # beside a leading .*; each one multiplies the time by the length of the name
MAX_OPTIONAL = 12


class PatternError(ValueError):
    """A regex that does not compile or that could take too long; the message says which and why."""


def compile_pattern(text: str) -> re.Pattern[str]:
    """Compile `text` for `search`, or raise `PatternError`."""
    if len(text) > MAX_LENGTH:
        raise PatternError(
            f"the regex {text[:40]!r}… has {len(text)} characters; at most {MAX_LENGTH} are allowed"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # For `search` a leading .* changes nothing but the time.
            short = text.removeprefix(".*")
            tree = parser.parse(short)
            compiled = re.compile(short)
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(f"the regex {text!r} does not compile: {error}") from None
    counts = {"open": 0, "optional": 0}
    reason = _danger(tree, inside_repeat=False, counts=counts)
    if reason is None and counts["open"] > MAX_OPEN_REPEATS:
        reason = f"it has more than {MAX_OPEN_REPEATS} open repeats such as .*"
    if reason is None and counts["optional"] > MAX_OPTIONAL:
        reason = f"it has more than {MAX_OPTIONAL} optional parts"
    if reason is not None:
        raise PatternError(f"the regex {text!r} is refused, because it could take very long: {reason}")
    return compiled


def compile_all(texts: Iterable[str]) -> list[re.Pattern[str]]:
    """Compile several; the first dangerous one raises `PatternError`."""
    return [compile_pattern(text) for text in texts]


REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)
BRANCH = codes.BRANCH
_BACK_REFERENCES = (codes.GROUPREF, codes.GROUPREF_EXISTS, codes.GROUPREF_IGNORE)


def subtrees(code: Any, argument: Any) -> list[Any]:
    """What stands inside an operation of a parsed regex."""
    if code in REPEATS:  # least, most, what is repeated
        return [argument[2]]
    if code is BRANCH:
        return list(argument[1])
    if code is codes.SUBPATTERN:
        return [argument[3]]
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return [argument[1]]
    if code is codes.ATOMIC_GROUP:
        return [argument]
    if code is codes.GROUPREF_EXISTS:
        return [branch for branch in argument[1:] if branch is not None]
    return []


def _danger(tree: Any, *, inside_repeat: bool, counts: dict[str, int]) -> str | None:
    for code, argument in tree:
        inside = inside_repeat
        if code in REPEATS:
            least, most = argument[:2]
            if least != most and inside_repeat:
                return "a repeat inside a repeat"
            if least != most:
                counts["optional" if most == 1 else "open"] += 1
            inside = inside_repeat or most > 1
        elif code is BRANCH and inside_repeat:
            return "alternatives inside a repeat"
        elif code in _BACK_REFERENCES:
            return "a back-reference"
        # Of alternatives only one is tried at a time: the worst counts.
        before, worst = dict(counts), dict(counts)
        for body in subtrees(code, argument):
            own = dict(before)
            if reason := _danger(body, inside_repeat=inside, counts=own):
                return reason
            worst = {key: max(worst[key], own[key]) for key in worst}
        counts.update(worst)
    return None
