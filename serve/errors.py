"""Two kinds of failure: the operator's (on stderr, ends the server), the caller's (a 4xx)."""

from __future__ import annotations


class ServeError(RuntimeError):
    """The server cannot run; the text is one sentence that says why and what to do."""


def printable(text: str) -> str:
    """One line without control characters: a log quotes names of files that others have chosen."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


class RequestError(ValueError):
    """The caller did something wrong; `code` is the HTTP status, the text says what to do about it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
