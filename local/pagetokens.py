"""NextToken of operations whose answers are one list: the place in it where the next page begins."""

from __future__ import annotations

import base64

from local.errors import AwsError


def write(place: int) -> str:
    return base64.urlsafe_b64encode(str(place).encode()).decode()


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
