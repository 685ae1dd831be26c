"""NextToken: the place where the next page begins; in answers that are one list, its number."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from local.errors import AwsError

T = TypeVar("T")


def write(place: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def parse(token: str) -> Any:
    """What was written, for callers that check it. ValueError or RecursionError for anything else."""
    return json.loads(base64.urlsafe_b64decode(token.encode()))


def page(
    items: Sequence[T], size: int, token: str | None, refusal: AwsError
) -> tuple[Sequence[T], str | None]:
    """The items from the token's place on, at most `size`, and the next page's token."""
    start = read(token, refusal)
    end = start + size
    return items[start:end], write(end) if end < len(items) else None


def read(token: str | None, refusal: AwsError) -> int:
    """The place that a token names, 0 without one. Raises `refusal` for what `write` has not written."""
    if token is None:
        return 0
    try:
        place = base64.urlsafe_b64decode(token.encode()).decode("ascii")
    except ValueError:
        place = ""
    if not place.isdecimal() or len(place) > 12:
        raise refusal
    return int(place)
