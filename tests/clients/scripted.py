"""What the scripts of the clients share; for their own interpreters, whose packages are not ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def fails(kind: type[Exception], *texts: str) -> Iterator[None]:
    """Inside, an error of `kind` must come whose text has one of `texts`."""
    try:
        yield
    except kind as error:
        if not any(text in str(error) for text in texts):
            raise AssertionError(f"{error} has none of {texts}") from error
    else:
        raise AssertionError(f"no {kind.__name__} with {texts}")
